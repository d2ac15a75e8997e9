"""What was counted of probabilities and of the order of scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.core.output.result import Counted, Result, undefined_to_none


@dataclass(frozen=True, eq=False)
class Ranks(Counted):
    """``counts[k]`` rows had ``k`` classes before their own; the last entry is of all further ones."""

    counts: Tensor

    def top(self, k: int) -> float:
        """Share of rows whose class was among the ``k`` with the largest scores."""
        return float(self.counts[:k].sum() / self.counts.sum())


@dataclass(frozen=True, eq=False)
class Losses(Counted):
    """Means over rows, each ``(G,)`` float64, for each label of a multilabel task, else one.

    Args:
        log_loss: minus the log of the target's probability.
        brier: squared distance of the probabilities to the target's.
        infinite: rows whose own class had probability 0.
    """

    log_loss: Tensor
    brier: Tensor
    infinite: Tensor

    @property
    def alerts(self) -> tuple[str, ...]:
        """Rows whose loss is infinite."""
        count = int(self.infinite.sum())
        return (f"{count} rows gave their own class probability 0; each counts 36.04 in the log loss",) if count else ()


@dataclass(frozen=True, eq=False)
class Reliability(Counted):
    """Confidence against accuracy, in bins of equal width over confidence 0 to 1.

    Args:
        right, wrong: rows in each bin whose predicted class was or was not theirs ``(B,)``, int64.
        confidence: sum of the confidence of the rows in each bin ``(B,)``, float64.
        of_one: of decisions between two, the same three over the probability of class 1: rows of it, other rows, and
            the sum of its probability.
    """

    right: Tensor
    wrong: Tensor
    confidence: Tensor
    of_one: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, weighted by rows.

        Guo et al., 2017, arXiv:1706.04599; of the predicted class.
        """
        return _calibration_error(self.right, self.wrong, self.confidence)

    @property
    def ece_of_one(self) -> float:
        """The same of class 1: of its probability and how often it is there, as of a binary task, or of labels."""
        return self.ece if self.of_one is None else _calibration_error(*self.of_one)


def _calibration_error(true: Tensor, false: Tensor, said: Tensor) -> float:
    return float((true - said).abs().sum() / (true + false).sum())


@dataclass(frozen=True, eq=False)
class ScoreRows(Counted):
    """Rows with their scores, all of them or a random sample; where a GPU had them they are still there.

    Args:
        scores: logits ``(N, C)`` float32; for multilabel log-odds ``(N, L)``.
        target: class index ``(N,)``; for multilabel 0 or 1 ``(N, L)``, -1 where not counted.
        total: rows of which these are a sample.
        ignored: classes whose rows are left out on purpose.
    """

    scores: Tensor
    target: Tensor
    total: int
    ignored: tuple[int, ...] = ()

    @cached_property
    def on_cpu(self) -> ScoreRows:
        """The same on the CPU."""
        return (
            self
            if self.scores.device.type == "cpu"
            else replace(self, scores=self.scores.cpu(), target=self.target.cpu())
        )

    def to_dict(self) -> dict[str, Any]:
        """How many; the rows themselves stay in the fields."""
        return {"rows": len(self.target), "total": self.total}


class Bounded(NamedTuple):
    """An estimate, and what it can be at least and at most, each ``(C,)`` float64; NaN where not defined."""

    value: Tensor
    low: Tensor
    high: Tensor

    @property
    def within(self) -> float:
        """By how much the estimate is off at most, where it is defined; 0 where it is exact."""
        ends = torch.stack([self.value - self.low, self.high - self.value])
        return float(ends.nan_to_num().max()) if ends.numel() else 0.0


def worth_of_areas(within: tuple[float, float]) -> str:
    """What areas under curves are worth, in words, from by how much AUROC and average precision are off at most."""
    if not any(within):
        return "areas under curves are exact"
    return (
        f"areas under curves are from histograms: AUROC is known to within {within[0]:.2g}, "
        f"average precision to within {within[1]:.2g}"
    )


@dataclass(frozen=True, eq=False)
class ScoreCounts(Counted):
    """How many scores fell in each bin of the score axis, by class.

    Args:
        positives: of rows of the class ``(T, C)``, int64, from the lowest bin to the highest.
        negatives: of the other rows.
        edges: probability between the bins ``(T + 1, C)``, float64, from 0 to 1.
    """

    positives: Tensor
    negatives: Tensor
    edges: Tensor

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """Positives and negatives."""
        return self.positives, self.negatives


@dataclass(frozen=True, eq=False)
class RankedScores(Counted):
    """What follows from the order of scores.

    Args:
        auroc: area under the ROC curve of each class; low, value and high are one where it is exact. Empty where
            scores were not kept, as of very many classes.
        average_precision: of each class.
        pooled: ``"auroc"`` and ``"average_precision"`` of all classes together, each ``(1,)``.
        binned: scores in bins, for curves, ``"each"`` of each class and ``"together"`` of all classes as of one.
        drawn: whether there are bins; there are none where the classes are too many.
        ignored: classes whose rows are left out on purpose; they are not among all classes.
    """

    auroc: Bounded
    average_precision: Bounded
    pooled: Mapping[str, Bounded]
    binned: Mapping[str, ScoreCounts]
    drawn: bool = True
    ignored: tuple[int, ...] = ()

    @property
    def micro(self) -> tuple[Bounded, Bounded]:
        """The two areas of all classes together."""
        return self.pooled["auroc"], self.pooled["average_precision"]

    @property
    def counts(self) -> ScoreCounts:
        """Of each class."""
        return self.binned["each"]

    @property
    def together(self) -> ScoreCounts:
        """Of all classes as of one."""
        return self.binned["together"]

    @property
    def known(self) -> bool:
        """Whether there are areas."""
        return len(self.auroc.value) > 0

    @property
    def within(self) -> tuple[float, float]:
        """By how much any of the areas, AUROC and average precision, is off at most; 0 where all are exact."""
        auroc, precision = self.micro
        return (
            max(self.auroc.within, auroc.within),
            max(self.average_precision.within, precision.within),
        )

    @property
    def worth(self) -> tuple[str, ...]:
        """What the areas are worth, a sentence."""
        return (worth_of_areas(self.within),) if self.known else ()

    def to_dict(self) -> dict[str, Any]:
        """The areas and what they are at least and at most."""
        named = {"auroc": self.auroc, "average_precision": self.average_precision}
        micro = {f"{name}_micro": area for name, area in zip(named, self.micro, strict=True)}
        areas = {name: undefined_to_none(area._asdict()) for name, area in {**named, **micro}.items()}
        return {**areas, "counts": self.counts.to_dict(), "together": self.together.to_dict()}


def ranked_of(results: Iterable[Result]) -> RankedScores | None:
    """Of what metrics amount to, the areas under curves that are known best."""
    found = [result for result in results if isinstance(result, RankedScores)]
    known = [one for one in found if one.known]
    return min(known or found, key=lambda one: one.auroc.within + one.average_precision.within, default=None)
