"""Everything that is heard of one step: outputs of modules, and what reaches losses and metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.core.capture.tap import Firing, Tap
from lightning_posttrain.core.capture.witness import Pair, Witness


class Listener:
    """Listens to one step at a time, with hooks, and with a witness where that is wanted."""

    def __init__(self) -> None:
        self.tap = Tap()
        self._witness = Witness()
        self._stance: contextlib.AbstractContextManager[Any] | None = None

    def attach(self, module: nn.Module) -> None:
        """Place hooks on a module and all of its parts."""
        self.tap.attach(module)

    def detach(self) -> None:
        """Leave the module as it was."""
        self.take()
        self.tap.detach()

    def listen(
        self,
        module: LightningModule,
        parts: Mapping[Path, Tensor],
        *shapes: torch.Size,
        only: Collection[str] | None,
        pairs: bool,
        trains: bool,
        keeping: bool = False,
    ) -> None:
        """Forget the last step and listen to the next.

        Args:
            module: whose step it is.
            parts: the tensors of the batch.
            *shapes: of the targets, as far as they are known.
            only: names of the modules to listen to; None for all.
            pairs: whether to hear what reaches losses and metrics.
            trains: whether the step trains; a compiled one is left alone then, whose figures would change.
            keeping: copy what the outermost calls are given, for who makes them again; inside of a compiled step that
                trains none is heard.
        """
        self.take()
        compiled = getattr(module, "_compiler_ctx", None) is not None
        pairs = pairs and not (compiled and trains)
        self.tap.listen(*shapes, only=only, noting=pairs, keeping=keeping)
        if compiled and not trains and (pairs or keeping):
            self._stance = torch.compiler.set_stance("force_eager")
            self._stance.__enter__()
        if pairs:
            self._witness.begin(module, parts)

    def pause(self, *, paused: bool) -> None:
        """Hear nothing for a while, in the middle of a step."""
        self.tap.pause(paused=paused)
        self._witness.pause(paused=paused)

    def take(self) -> tuple[list[Firing], list[Pair] | None]:
        """Stop listening; the calls of modules, and the pairs, or None where these were not listened to."""
        listening = self._witness.listening
        pairs = self._witness.take()
        stance, self._stance = self._stance, None
        if stance is not None:
            stance.__exit__(None, None, None)
        return self.tap.take(), pairs if listening else None
