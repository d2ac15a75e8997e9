"""Every result: the page that says all that the package can tell.

A result is data without a picture: frozen, on the CPU, with figures for curves and plain data for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Result(Protocol):
    """What every result offers."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that stand beside the figures."""

    @property
    def alerts(self) -> tuple[str, ...]:
        """Those of the notes that are also said as a warning, as rows that were left out."""

    def scalars(self) -> dict[str, float]:
        """The figures worth a curve, by the name that follows the stage in a tag."""

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain Python that JSON takes; undefined values are None."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each actual class was predicted as each class.

    Args:
        counts: ``(C, C)`` int64; rows are the actual class, columns the predicted one.
        class_names: ``C`` names.
        nonfinite: rows left out because their scores were NaN or infinite.
        out_of_range: rows left out because their target is no class.
    """

    counts: Tensor
    class_names: tuple[str, ...]
    nonfinite: int = 0
    out_of_range: int = 0

    @property
    def normalized(self) -> Tensor:
        """Shares ``(C, C)`` float64 of each actual class; a class without rows is NaN."""
        counts = self.counts.double()
        return counts / counts.sum(dim=1, keepdim=True)

    @property
    def alerts(self) -> tuple[str, ...]:
        """Which rows are not in ``counts``, and why."""
        causes = ((self.nonfinite, "scores are NaN or infinite"), (self.out_of_range, "target is no class"))
        left_out = tuple(f"{count} rows left out: their {cause}" for count, cause in causes if count)
        return (*left_out, *self._unlikely())

    def _unlikely(self) -> tuple[str, ...]:
        """A doubt where many rows have no target in the upper half of unnamed classes: features have such columns."""
        support = self.counts.sum(dim=1)
        half = len(support) // 2
        named = self.class_names != tuple(map(str, range(len(support))))
        if named or half < 4 or int(support[:half].sum()) < 30 or bool(support[half:].any()):
            return ()
        return (
            f"no row has a target from {half} to {len(support) - 1}: if what was taken for scores are features, "
            'return {"logits": logits} from the step or pass num_classes=...',
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """The alerts."""
        return self.alerts

    def scalars(self) -> dict[str, float]:
        """Nothing: a matrix has no single figure; those are in ``ClassificationReport``."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Counts as nested lists, with the class names."""
        return {
            "class_names": list(self.class_names),
            "counts": self.counts.tolist(),
            "nonfinite": self.nonfinite,
            "out_of_range": self.out_of_range,
        }


@dataclass(frozen=True)
class ConfusedPair:
    """One cell off the diagonal of a confusion matrix; ``share`` is of the actual class."""

    actual: str
    predicted: str
    count: int
    share: float


class ClassScores(NamedTuple):
    """Precision, recall and F1, each a number or one per class."""

    precision: Any
    recall: Any
    f1: Any


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Figures that follow from a confusion matrix, named and defined as in scikit-learn.

    Args:
        class_names: ``C`` names.
        support: rows of each actual class ``(C,)``, int64.
        per_class: ``ClassScores`` of tensors ``(C,)`` float64; NaN where not defined.
        macro, weighted: their means over the classes where they are defined, plain and by support.
        accuracy: share of rows whose class was predicted.
        balanced_accuracy: mean recall of the classes that have rows.
        undefined: which figures are not defined, or 0 by convention, and of which classes.
        alerts: which rows were left out, and why.
    """

    class_names: tuple[str, ...]
    support: Tensor
    per_class: ClassScores
    macro: ClassScores
    weighted: ClassScores
    accuracy: float
    balanced_accuracy: float
    undefined: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader of the table must know."""
        return (*self.alerts, *self.undefined)

    def scalars(self) -> dict[str, float]:
        """The eight figures of the whole set, as ``f1_macro``."""
        averages = {"macro": self.macro, "weighted": self.weighted}
        named = {
            f"{figure}_{average}": float(value)
            for average, scores in averages.items()
            for figure, value in scores._asdict().items()
        }
        return {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy, **named}

    def per_class_scalars(self) -> dict[str, float]:
        """The figures of each class, as ``per_class/recall/cat``."""
        return {
            f"per_class/{figure}/{name}": value
            for figure, values in self.per_class._asdict().items()
            for name, value in zip(self.class_names, values.tolist(), strict=True)
        }

    def rows(self) -> list[tuple[str, float, float, float, int]]:
        """Name, precision, recall, F1 and support of each class, then of the two averages."""
        support = self.support.tolist()
        columns = (values.tolist() for values in self.per_class)
        classes = list(zip(self.class_names, *columns, support, strict=True))
        averages = (("macro average", self.macro), ("weighted average", self.weighted))
        return [*classes, *((name, *scores, sum(support)) for name, scores in averages)]

    def to_dict(self) -> dict[str, Any]:
        """Headline figures, then one record for each class."""
        keys = ("class", "precision", "recall", "f1", "support")
        records = [dict(zip(keys, row, strict=True)) for row in self.rows()[: len(self.class_names)]]
        figures: dict[str, Any] = {**self.scalars(), "per_class": records, "notes": list(self.notes)}
        return {key: undefined_to_none(value) for key, value in figures.items()}

    def __str__(self) -> str:
        width = max(len(name) for name, *_ in self.rows())
        head = f"{'':{width}}  precision     recall         f1    support"
        lines = [f"{name:{width}} {p:10.4f} {r:10.4f} {f:10.4f} {n:10d}" for name, p, r, f, n in self.rows()]
        tail = [f"accuracy {self.accuracy:.4f}, balanced {self.balanced_accuracy:.4f}", *self.notes]
        return "\n".join([head, *lines, "", *tail])


@dataclass(frozen=True, eq=False)
class Saliency:
    """Attribution maps of a few samples, for the class that the model predicts.

    Args:
        images: the samples ``(K, H, W, 3)`` for the eye, float32 in 0 to 1.
        maps: by method name ``(K, H, W)`` float32, in the method's own units.
        titles: each method's name as people write it.
        signed: methods whose maps have a sign: positive speaks for the class, negative against it.
        target: actual class ``(K,)``.
        predicted: predicted class ``(K,)``.
        probability: probability of the predicted class ``(K,)``.
        index: position in the dataset of each sample, or None where not known.
        class_names: ``C`` names.
        layer: the layer that class activation maps were taken from, or None.
        skipped: methods without a map, and the reason.
    """

    images: Tensor
    maps: dict[str, Tensor]
    titles: Mapping[str, str]
    signed: frozenset[str]
    target: Tensor
    predicted: Tensor
    probability: Tensor
    index: tuple[int | None, ...]
    class_names: tuple[str, ...]
    layer: str | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def alerts(self) -> tuple[str, ...]:
        """None: a missing map is said in the picture."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Which methods are missing, and why."""
        return tuple(f"{method}: {reason}" for method, reason in self.skipped.items())

    def scalars(self) -> dict[str, float]:
        """Nothing: maps are looked at."""
        return {}

    def rows(self) -> list[tuple[int | None, str, str, float]]:
        """Dataset position, actual class, predicted class and probability of each sample."""
        names = self.class_names
        columns = (self.target.tolist(), self.predicted.tolist(), self.probability.tolist())
        rows = zip(self.index, *columns, strict=True)
        return [(index, names[actual], names[guess], probability) for index, actual, guess, probability in rows]

    def to_dict(self) -> dict[str, Any]:
        """The samples and what was drawn; the maps themselves stay in ``maps``."""
        keys = ("index", "actual", "predicted", "probability")
        samples = undefined_to_none([dict(zip(keys, row, strict=True)) for row in self.rows()])
        drawn = {"methods": list(self.maps), "layer": self.layer, "skipped": dict(self.skipped)}
        return {"samples": samples, **drawn}


def undefined_to_none(value: Any) -> Any:
    """Replace NaN and infinities, which JSON has no word for, by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: undefined_to_none(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [undefined_to_none(item) for item in value]
    return value
