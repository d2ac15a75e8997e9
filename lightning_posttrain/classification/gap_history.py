"""Pairs of training and validation figures, kept over the epochs of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_posttrain.classification.result.gap import GapHistory, Pair
from lightning_posttrain.classification.result.report import ClassificationReport


class EpochPairs:
    """Pairs each training report with the validation report of the same epoch, and keeps figures of both.

    Args:
        figures: names of the report's figures that are kept.
        patience: as ``GapHistory`` has it.
    """

    def __init__(self, figures: Sequence[str], patience: int) -> None:
        self._figures = tuple(figures)
        self._patience = patience
        self._pairs: dict[str, list[Pair]] = {name: [] for name in self._figures}
        self._val: tuple[int, ClassificationReport] | None = None
        self._resumed = False

    def start(self, epoch: int) -> None:
        """Begin a run at an epoch: one from the start has no history, one that is resumed its checkpoint's."""
        if epoch == 0 and not self._resumed:
            self._pairs = {name: [] for name in self._figures}
        self._val, self._resumed = None, False

    def add(self, stage: str, epoch: int, report: ClassificationReport) -> GapHistory | None:
        """Take the report of an epoch; the history where it is training's, and the epoch had a validation."""
        if stage == "val":
            self._val = (epoch, report)
            return None
        if self._val is None or self._val[0] != epoch:
            return None
        return self._paired(epoch, report, self._val[1])

    def _paired(self, epoch: int, train: ClassificationReport, val: ClassificationReport) -> GapHistory:
        for name, pairs in self._pairs.items():
            pairs.append(Pair(epoch, train[name], val[name]))
        history = {name: tuple(pairs) for name, pairs in self._pairs.items()}
        return GapHistory(history, self._patience, int(val.support.sum()))

    # a run that is resumed goes on where it was

    def state_dict(self) -> dict[str, Any]:
        """The history, as plain lists."""
        return {"history": {name: [list(pair) for pair in pairs] for name, pairs in self._pairs.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a history; figures that are no longer asked for are left out."""
        kept = state_dict["history"]
        self._pairs = {name: [Pair(*pair) for pair in kept.get(name, [])] for name in self._figures}
        self._resumed = True
