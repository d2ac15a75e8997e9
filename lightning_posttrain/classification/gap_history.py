"""Pairs of training and validation figures, kept over the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightning_posttrain.classification.result.gap import GapHistory, Pair
from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.core.callback.kept_form import dict_of, number_of


class EpochPairs:
    """Pairs each training report with the validation report of the same epoch, and keeps figures of both.

    Args:
        figures: names of the report's figures that are kept.
        patience: as ``GapHistory`` has it.
    """

    def __init__(self, figures: Sequence[str], patience: int) -> None:
        self._figures = tuple(figures)
        self._patience = patience
        self._pairs: dict[str, list[Pair]] = {name: [] for name in figures}
        self._val: _Half | None = None
        self._resumed = False

    def start(self, epoch: int) -> None:
        """Begin a run at an epoch: one from the start has no history, one that is resumed its checkpoint's."""
        if not self._resumed:
            self._val = None
            self._pairs = self._pairs if epoch else {name: [] for name in self._figures}
        self._resumed = False

    def add(self, stage: str, epoch: int, report: ClassificationReport) -> GapHistory | None:
        """Take the report of an epoch; the history where it is training's, and the epoch had a validation."""
        if stage == "val":
            figures = {name: report[name] for name in self._figures}
            self._val = _Half(epoch, int(report.support.sum()), figures)
            return None
        val, self._val = self._val, None
        return None if val is None or val.epoch != epoch else self._paired(report, val)

    def _paired(self, train: ClassificationReport, val: _Half) -> GapHistory:
        for name, pairs in self._pairs.items():
            pairs.append(Pair(val.epoch, train[name], val.figures[name]))
        history = {name: tuple(pairs) for name, pairs in self._pairs.items()}
        return GapHistory(history, self._patience, val.rows)

    # a run that is resumed goes on where it was

    def state_dict(self) -> dict[str, Any]:
        """The history as plain lists, and a validation whose training has not ended."""
        history = {name: [list(pair) for pair in pairs] for name, pairs in self._pairs.items()}
        val = {} if self._val is None else {"val": {**self._val._asdict(), "figures": dict(self._val.figures)}}
        return {"history": history, **val}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a history; figures that are no longer asked for are left out.

        Raises:
            ValueError: it is none.
        """
        kept = dict_of(state_dict.get("history"), "'history'")
        pairs = {name: _pairs(kept.get(name, [])) for name in self._figures}
        val = _half(state_dict["val"], self._figures) if "val" in state_dict else None
        self._pairs, self._val, self._resumed = pairs, val, True


class _Half(NamedTuple):
    """The validation of an epoch, whose training has not ended."""

    epoch: int
    rows: int
    figures: Mapping[str, float]


def _pairs(kept: Any) -> list[Pair]:
    if not isinstance(kept, list) or not all(isinstance(each, (list, tuple)) and len(each) == 3 for each in kept):
        raise ValueError(f"'history' has {type(kept).__name__} for a figure, wanted a list of epoch, train and val.")
    for each in kept:
        named = dict(zip(("epoch", "train", "val"), each, strict=True))
        number_of(named, "epoch", int, least=0)
        number_of(named, "train", float)
        number_of(named, "val", float)
    epochs = [each[0] for each in kept]
    if epochs != sorted(set(epochs)):
        raise ValueError(f"'history' has the epochs {epochs}, wanted each once, in order.")
    return [Pair(*each) for each in kept]


def _half(kept: Any, figures: Sequence[str]) -> _Half | None:
    """The validation, if it has all figures."""
    kept = dict_of(kept, "'val'")
    found = dict_of(kept.get("figures"), "'figures'")
    epoch, rows = (number_of(kept, name, int, least=0) for name in ("epoch", "rows"))
    if set(figures) - set(found):
        return None
    return _Half(epoch, rows, {name: number_of(found, name, float) for name in figures})
