"""What was counted of probabilities and of the order of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_posttrain.core.output.result import Counted


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
class Areas(Counted):
    """Areas under curves without an approximation.

    Args:
        auroc: area under the ROC curve of each class ``(C,)`` float64; NaN where not defined.
        average_precision: ``(C,)`` float64.
    """

    auroc: Tensor
    average_precision: Tensor


@dataclass(frozen=True, eq=False)
class ScoreRows(Counted):
    """Rows with their scores, all of them or a random sample.

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

    def to_dict(self) -> dict[str, Any]:
        """How many; the rows themselves stay in the fields."""
        return {"rows": len(self.target), "total": self.total}


@dataclass(frozen=True, eq=False)
class ScoreCounts(Counted):
    """How many scores fell in each bin of the score axis, by class.

    Args:
        positives: of rows of the class ``(T, C)``, int64, from the lowest bin to the highest.
        negatives: of the other rows.
        class_names: ``C`` names.
        ignored: classes whose rows are left out on purpose.
    """

    positives: Tensor
    negatives: Tensor
    class_names: tuple[str, ...]
    ignored: tuple[int, ...] = ()

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """Positives and negatives."""
        return self.positives, self.negatives

    @property
    def together(self) -> tuple[Tensor, Tensor]:
        """Positives and negatives of all classes that are not ignored, as of one ``(T, 1)``."""
        kept = [k for k in range(len(self.class_names)) if k not in self.ignored]
        sides = self.sides if len(kept) == len(self.class_names) else (side[:, kept] for side in self.sides)
        positives, negatives = (side.sum(dim=1, keepdim=True) for side in sides)
        return positives, negatives
