"""A base that is a callback of ``lightning.pytorch`` and of ``pytorch_lightning``, whichever are there."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Callback as AnyCallback
else:

    def _callback_bases() -> tuple[type, ...]:
        """``Callback`` of both namespaces: a Trainer and a LightningCLI know only their own."""
        bases = []
        for namespace in ("lightning.pytorch", "pytorch_lightning"):
            with contextlib.suppress(ModuleNotFoundError):
                bases.append(importlib.import_module(namespace).Callback)
        return tuple(bases)

    class AnyCallback(*_callback_bases()):
        """Base of all callbacks of this package."""


__all__ = ["AnyCallback"]
