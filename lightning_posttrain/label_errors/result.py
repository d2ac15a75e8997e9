"""What became of each sample over the epochs, and whose label is probably wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
    """

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

    @property
    def epochs(self) -> int:
        """How many epochs there were."""
        passed = int(self.seen.max()) if len(self.seen) else 0
        return passed if self.events is None else self.events.epoch + 1

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
        return torch.bincount(self.forgotten)

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
        if self.errors is None or not len(self.index):
            return self.limits
        count = len(self.suspects)
        if not count:
            return (f"none of {len(self.index)} labels is probably wrong", *self.limits)
        said = "1 label is" if count == 1 else f"{count} labels are"
        right = (self.predicted == self.label).double().mean()
        return (
            f"{said} probably wrong, of {len(self.index)}: look at them, the first ones first. The model agrees with "
            f"{right:.1%} of all labels; the weaker it is, the more of these are its own errors",
            *self.limits,
        )

    def scalars(self) -> dict[str, float]:
        """Samples learned and forgotten in the last epoch, never right so far, and with a label probably wrong."""
        counts = {} if self.events is None else self.events._asdict()
        names = {"learned": "learned_events", "forgotten": "forgotten_events", "always_wrong": "always_wrong"}
        found = {names[name]: float(count) for name, count in counts.items() if name in names}
        suspected = self.errors is not None and self.epochs > 0
        return {**found, "suspects": float(len(self.suspects))} if suspected else found

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the first suspects; all samples stand in a CSV file."""
        forgotten = {} if self.events is None else {"forgotten_counts": self.forgotten_counts.tolist()}
        figures: dict[str, Any] = {
            "samples": len(self.index),
            "epochs": self.epochs,
            **{name: int(value) for name, value in self.scalars().items()},
            **forgotten,
            "suspects": self._listed(),
            "expected": self._expected(),
            "notes": list(self.notes),
        }
        plain: dict[str, Any] = undefined_to_none(figures)
        return plain

    def _expected(self) -> dict[str, float]:
        """How many suspects have a wrong label by the probabilities alone, and the variance of that.

        A label against the most probable class is right with a probability of about its score.
        """
        if self.errors is None:
            return {}
        right = self.errors.score[self.suspects]
        wrong, variance = float((1 - right).sum()), float((right * (1 - right)).sum())
        return {"flagged": float(len(right)), "wrong": wrong, "variance": variance}

    def _listed(self) -> list[dict[str, Any]]:
        if self.errors is None:
            return []
        rows, names = self.suspects[:LISTED], self.class_names
        columns = (self.index, self.label, self.errors.suggested, self.errors.score, self.loss)
        keys = ("index", "label", "suggested", "score", "loss")
        cells = zip(*(column[rows].tolist() for column in columns), strict=True)
        return [dict(zip(keys, (i, names[label], names[to], *rest), strict=True)) for i, label, to, *rest in cells]
