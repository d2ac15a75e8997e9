"""What Lightning says anew of every Trainer, which of many hides what they found."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_utilities.core import rank_zero

CHATTER = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡 Tip",
    "`Trainer.fit` stopped: `max_",
    "Loading `train_dataloader`",
)
OF_LIGHTNING = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
"""A warning of torch about Lightning's code."""


@contextmanager
def without_chatter(warned: set[tuple[Any, ...]]) -> Iterator[None]:
    """Let Lightning leave out what is the same for every Trainer, and show each warning once.

    Args:
        warned: warnings that were shown, which grows.
    """
    heard = rank_zero.log
    heard.addFilter(_is_worth_saying)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=OF_LIGHTNING)
            _show_once(warned)
            yield
    finally:
        heard.removeFilter(_is_worth_saying)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not str(record.msg).startswith(CHATTER)


def _show_once(warned: set[tuple[Any, ...]]) -> None:
    """Python's own memory of what it has shown goes with every change of its filters."""
    show = warnings.showwarning

    def once(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
        key = (str(message), category, filename, lineno)
        if key not in warned:
            warned.add(key)
            show(message, category, filename, lineno, *rest)

    warnings.showwarning = once  # type: ignore[assignment]
