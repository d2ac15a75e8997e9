"""What became of each sample over the epochs, and whose label is probably wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.core.output.restored import restored, restored_fields
from lightning_posttrain.core.output.result import Counted, undefined_to_none
from lightning_posttrain.hard_examples import HardReport

LISTED = 50
"""Suspects that JSON and tables list at most."""


class Events(NamedTuple):
    """How many samples were learned and forgotten in an epoch, and how many had never been right up to then."""

    epoch: int
    learned: int
    forgotten: int
    always_wrong: int


@dataclass(frozen=True)
class HistoryTotals:
    """What all samples of a history amount to.

    Args:
        samples: that were seen.
        epochs: that there were.
        agreeing: samples whose label is what was predicted when last seen.
        suspects: whose label is probably wrong; None where probabilities were not kept.
        forgotten_counts: how many samples were forgotten 0, 1, 2, … times.
        wrong: of the suspects that have a wrong label, by the probabilities alone: a label against the most probable
            class is right with a probability of about its score. None where these were not kept.
        variance: of that.
    """

    samples: int
    epochs: int
    agreeing: int
    suspects: int | None
    forgotten_counts: tuple[int, ...]
    wrong: float | None = None
    variance: float | None = None


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """How probable it is of each of ``N`` samples that its label is wrong.

    Args:
        score: ``(N,)`` float64 from 0, the model is sure of another class, to 1, sure of the label; at 0.5 two classes
            are equally probable. NaN where there is no label.
        flagged: ``(N,)`` bool, the probable label errors.
        suggested: the most probable class ``(N,)`` int64; -1 where there is no label.
        order: the samples that have a label ``(K,)`` int64, from the lowest score to the highest.
        joint: estimated share of samples with each label (row) and true class (column) ``(C, C)`` float64; sums to 1.
    """

    score: Tensor
    flagged: Tensor
    suggested: Tensor
    order: Tensor
    joint: Tensor


@dataclass(frozen=True, eq=False)
class SampleHistory(Counted):
    """Of each of the ``N`` samples that were seen, how it fared over the epochs.

    A sample is learned where it is right in an epoch and was wrong when last seen, and forgotten the other way round
    (Toneva et al., 2019, arXiv:1812.05159). One that was right when first seen was not learned: nothing was before.

    Args:
        index: position in the dataset ``(N,)`` int64, ascending.
        label: ``(N,)`` int64.
        predicted: class predicted when last seen ``(N,)`` int64.
        loss: when last seen ``(N,)`` float32; of a large dataset to 3 digits.
        learned: how often it went from wrong to right ``(N,)`` int64.
        forgotten: how often it went from right to wrong ``(N,)`` int64.
        wrong: epochs in which it was wrong ``(N,)`` int64.
        seen: epochs in which it was seen ``(N,)`` int64, at least 1.
        errors: whose label is probably wrong; its samples are these ``N``. None where probabilities were not kept.
        class_names: ``C`` names.
        events: of the last epoch; None before the first has ended, and where there is one pass alone, in which nothing
            can be learned or forgotten.
        past: of all epochs, where they were kept.
        gallery: suspects whose inputs were kept, the most probable first, or None.
        limits: sentences on what was left out or rounded.
        known: of a history that was read from a record, whose ``N`` are the first suspects alone, what all were; else
            None.
    """

    recorded_as: ClassVar[str] = "label_errors"

    index: Tensor
    label: Tensor
    predicted: Tensor
    loss: Tensor
    learned: Tensor
    forgotten: Tensor
    wrong: Tensor
    seen: Tensor
    errors: LabelErrors | None
    class_names: tuple[str, ...]
    events: Events | None
    past: tuple[Events, ...] = ()
    gallery: HardReport | None = None
    limits: tuple[str, ...] = ()
    known: HistoryTotals | None = None

    @property
    def totals(self) -> HistoryTotals:
        """What all samples amount to."""
        if self.known is not None:
            return self.known
        passed = int(self.seen.max()) if len(self.seen) else 0
        right = None if self.errors is None else self.errors.score[self.suspects]
        return HistoryTotals(
            samples=len(self.index),
            epochs=passed if self.events is None else self.events.epoch + 1,
            agreeing=int((self.predicted == self.label).sum()),
            suspects=None if self.errors is None else len(self.suspects),
            forgotten_counts=tuple(torch.bincount(self.forgotten).tolist()),
            wrong=None if right is None else float((1 - right).sum()),
            variance=None if right is None else float((right * (1 - right)).sum()),
        )

    @property
    def epochs(self) -> int:
        """How many epochs there were."""
        return self.totals.epochs

    @property
    def always_wrong(self) -> Tensor:
        """Samples ``(N,)`` bool that were wrong in every epoch that saw them."""
        return self.wrong == self.seen

    @property
    def never_learned(self) -> Tensor:
        """Samples ``(N,)`` bool that are wrong and were never learned: always wrong, or forgotten for good."""
        return (self.predicted != self.label) & (self.learned == 0)

    @property
    def forgotten_counts(self) -> Tensor:
        """How many samples were forgotten 0, 1, 2, … times ``(K,)`` int64; hard ones are forgotten often."""
        return torch.tensor(self.totals.forgotten_counts, dtype=torch.int64)

    @property
    def suspects(self) -> Tensor:
        """The samples whose label is probably wrong ``(K,)`` int64 in 0 to ``N - 1``, the most probable first."""
        if self.errors is None:
            return torch.empty(0, dtype=torch.int64)
        order = self.errors.order
        return order[self.errors.flagged[order]]

    @property
    def notes(self) -> tuple[str, ...]:
        """How many labels are probably wrong, what to do, and what was left out."""
        totals = self.totals
        count = totals.suspects
        if count is None or not totals.samples:
            return self.limits
        if not count:
            return (f"none of {totals.samples} labels is probably wrong", *self.limits)
        said = "1 label is" if count == 1 else f"{count} labels are"
        right = totals.agreeing / totals.samples
        return (
            f"{said} probably wrong, of {totals.samples}: look at them, the first ones first. The model agrees with "
            f"{right:.1%} of all labels; the weaker it is, the more of these are its own errors",
            *self.limits,
        )

    def scalars(self) -> dict[str, float]:
        """Samples learned and forgotten in the last epoch, never right so far, and with a label probably wrong."""
        counts = {} if self.events is None else self.events._asdict()
        names = {"learned": "learned_events", "forgotten": "forgotten_events", "always_wrong": "always_wrong"}
        found = {names[name]: float(count) for name, count in counts.items() if name in names}
        count = self.totals.suspects
        return found if count is None or not self.epochs else {**found, "suspects": float(count)}

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the first suspects; all samples stand in a CSV file."""
        forgotten = {} if self.events is None else {"forgotten_counts": self.forgotten_counts.tolist()}
        figures: dict[str, Any] = {
            "kind": self.recorded_as,
            "totals": vars(self.totals),
            "samples": self.totals.samples,
            "epochs": self.epochs,
            **{name: int(value) for name, value in self.scalars().items()},
            **forgotten,
            "suspects": self._listed(),
            "class_names": list(self.class_names),
            "events": None if self.events is None else self.events._asdict(),
            "past": [events._asdict() for events in self.past],
            "limits": list(self.limits),
            "notes": list(self.notes),
        }
        plain: dict[str, Any] = undefined_to_none(figures)
        return plain

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> SampleHistory:
        """What ``to_dict`` gave: its samples are the suspects that were listed."""
        rows, place = state["suspects"], {name: number for number, name in enumerate(state["class_names"])}
        named = {name: [place[row[name]] for row in rows] for name in _NAMED}
        found = {name: [row[name] for row in rows] for name in (*_OF_EACH, "score", "loss")}
        columns: dict[str, Any] = {name: _column(values) for name, values in {**named, **found}.items()}
        score, suggested, order = columns.pop("score"), columns.pop("suggested"), torch.arange(len(rows))
        flagged, joint = torch.ones(len(rows), dtype=torch.bool), torch.zeros(0, 0, dtype=torch.float64)
        totals = restored_fields(HistoryTotals, state["totals"])
        return cls(
            **columns,
            errors=None if totals.suspects is None else LabelErrors(score, flagged, suggested, order, joint),
            class_names=tuple(state["class_names"]),
            events=restored(Events | None, state["events"]),
            past=restored(tuple[Events, ...], state["past"]),
            limits=tuple(state["limits"]),
            known=totals,
        )

    def _listed(self) -> list[dict[str, Any]]:
        if self.errors is None:
            return []
        rows, names = self.suspects[:LISTED], self.class_names
        columns = {name: getattr(self, name) for name in (*_OF_EACH, "label", "predicted", "loss")}
        columns.update(suggested=self.errors.suggested, score=self.errors.score)
        cells = {name: column[rows].tolist() for name, column in columns.items()}
        cells.update({name: [names[number] for number in cells[name]] for name in _NAMED})
        keys = ("index", "label", "suggested", "score", "loss", "predicted", *_OF_EACH[1:])
        return [dict(zip(keys, row, strict=True)) for row in zip(*(cells[name] for name in keys), strict=True)]


_NAMED = ("label", "suggested", "predicted")
_OF_EACH = ("index", "learned", "forgotten", "wrong", "seen")


def _column(values: list[Any]) -> Tensor:
    found: Tensor = restored(Tensor, values)
    return found if values else found.long()
