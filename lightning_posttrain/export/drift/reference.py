"""What a model answered where it was tested, as counts: no scores and no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.export.decision import Task
from lightning_posttrain.export.drift.functional import accuracy_threshold, log_odds_edges, pooled
from lightning_posttrain.export.drift.rows import NO_ANSWER, row_answer, row_confidence

Array = NDArray[Any]

LEAST_ROWS = 30
"""Of a reference and of a window: with fewer, nothing can be told apart."""
MOST_KEPT = 1_000_000
"""Confidences that are kept until the bins are known: of more rows, a random sample."""
MOST_CELLS = 200
"""Of answers that are counted apart; of more classes, neighbours are counted together."""

_LARGEST = 2**53
_UNKNOWN, _WRONG, _RIGHT = -1, 0, 1


@dataclass(frozen=True)
class DriftReference:
    """What a model answered where it was tested: how many rows were how sure, and how many had which answer.

    Args:
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        rows: that were answered.
        classes: classes or labels.
        edges: of bins of confidence ``(E,)``, in log-odds.
        confidence_counts: rows in each bin ``(E + 1,)``; of many rows, of a random sample.
        class_starts: first answer of each cell ``(K,)``, from -1, which is no answer.
        class_counts: rows in each cell ``(K,)``.
        threshold: the confidence that as many rows reached as were right, or None.
        accuracy: share of right ones among the rows with an answer and a target, or None.
    """

    task: Task
    rows: int
    classes: int
    edges: tuple[float, ...]
    confidence_counts: tuple[int, ...]
    class_starts: tuple[int, ...]
    class_counts: tuple[int, ...]
    threshold: float | None = None
    accuracy: float | None = None

    @classmethod
    def of(
        cls, probabilities: Array, decision: Array, target: Array | None = None, *, task: Task = "multiclass"
    ) -> DriftReference:
        """Of rows that are all there; ``DriftReferenceBuilder`` takes them batch by batch.

        Args:
            probabilities: what the model gave, ``(N, C, ...)``.
            decision: what it gave, ``(N, ...)`` or, of labels, ``(N, L, ...)``.
            target: classes ``(N,)``, below 0 where there is none, or None. It is not used of labels and positions:
                a row of these has several answers.
            task: whose rows they are.

        Raises:
            ValueError: shapes that do not fit, or fewer than ``LEAST_ROWS`` rows.

        Example:
            >>> said = np.tile(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), (50, 1))
            >>> reference = DriftReference.of(said, said.argmax(1), np.tile([0, 0], 50))
            >>> reference.class_counts, reference.accuracy
            ((0, 50, 50), 0.5)
        """
        builder = DriftReferenceBuilder(task=task)
        builder.add(probabilities, decision, target)
        return builder.reference()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> DriftReference:
        """What ``to_dict`` gave.

        Raises:
            ValueError: it is something else.
        """
        names = {part.name for part in fields(cls)}
        if not isinstance(saved, Mapping) or set(saved) != names:
            found = sorted(map(str, saved)) if isinstance(saved, Mapping) else type(saved).__name__
            raise ValueError(f"'reference' has {found}, wanted {sorted(names)}. Export the model again.")
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
        }
        made = cls(**plain)
        for fault in _faults(made):
            raise ValueError(f"'reference' is none of this package: {fault}. Export the model again.")
        return made


def _faults(given: DriftReference) -> list[str]:
    """What is wrong with values that came from a file."""
    whole = ("rows", "classes")
    lists = ("edges", "confidence_counts", "class_starts", "class_counts")
    found = [f"'{name}' is {getattr(given, name)!r}" for name in whole if not _is_count(getattr(given, name))]
    found += [f"'{name}' is no list" for name in lists if not isinstance(getattr(given, name), tuple)]
    found += [
        f"'{name}' is {value!r}" for name in ("threshold", "accuracy") if not _is_number(value := getattr(given, name))
    ]
    if given.task not in ("multiclass", "binary", "multilabel"):
        found.append(f"'task' is {given.task!r}")
    if found:
        return found
    counts = given.confidence_counts + given.class_counts
    if not all(map(_is_count, counts)) or min(sum(given.confidence_counts), sum(given.class_counts)) < LEAST_ROWS:
        found.append(f"counts are whole numbers with {LEAST_ROWS} rows at least")
    if len(given.confidence_counts) != len(given.edges) + 1 or not _rises(given.edges):
        found.append("'edges' rise, and lie between 'confidence_counts'")
    starts = given.class_starts
    if len(given.class_counts) != len(starts) or len(starts) < 2 or not _rises(starts) or starts[0] != NO_ANSWER:
        found.append("'class_starts' rise from -1, one for each of 'class_counts'")
    return found


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and -_LARGEST < value < _LARGEST)


def _rises(values: tuple[float, ...]) -> bool:
    numbers = all(value is not None and _is_number(value) for value in values)
    return numbers and len(values) > 0 and bool((np.diff(values) > 0).all())


@final
class DriftReferenceBuilder:
    """A reference from batches, in memory that does not grow with them: counts, and a sample of confidences.

    Args:
        task: whose rows they are.
        most_kept: confidences, a random sample where there are more rows.

    Example:
        >>> builder = DriftReferenceBuilder(task="binary")
        >>> for _ in range(20):
        ...     builder.add(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.array([0, 1]))
        >>> builder.reference().rows
        40
    """

    def __init__(self, *, task: Task, most_kept: int = MOST_KEPT) -> None:
        self.task = task
        self.rows = 0
        self._answers = np.zeros(0, dtype=np.int64)
        self._confidence = np.empty(most_kept, dtype=np.float32)
        self._outcome = np.empty(most_kept, dtype=np.int8)
        self._right = self._judged = 0
        self._generator = np.random.default_rng(0)

    def add(self, probabilities: Array, decision: Array, target: Array | None = None) -> None:
        """Count a batch.

        Args:
            probabilities: what the model gave, ``(N, C, ...)``.
            decision: what it gave, ``(N, ...)`` or, of labels, ``(N, L, ...)``.
            target: classes ``(N,)``, below 0 where there is none, or None.

        Raises:
            ValueError: shapes that do not fit, or probabilities that are not finite.
        """
        self._check(probabilities, decision, target)
        answers = row_answer(probabilities, decision, self.task)
        outcome = np.full(len(answers), _UNKNOWN, dtype=np.int8)
        if target is not None and self.task != "multilabel" and decision.ndim == 1:
            judged = (answers != NO_ANSWER) & (target >= 0)
            outcome[judged] = np.where(answers == target, _RIGHT, _WRONG)[judged]
        self._answers += np.bincount(answers - NO_ANSWER, minlength=len(self._answers))
        self._right += int((outcome == _RIGHT).sum())
        self._judged += int((outcome != _UNKNOWN).sum())
        self._keep(row_confidence(probabilities, self.task), outcome)

    def _check(self, probabilities: Array, decision: Array, target: Array | None) -> None:
        shape = probabilities.shape
        answers = shape if self.task == "multilabel" else shape[:1] + shape[2:]
        if len(shape) < 2 or decision.shape != answers:
            raise ValueError(
                f"`probabilities` and `decision` have shapes {shape} and {decision.shape}, "
                f"wanted (N, C, ...) and {'the same' if self.task == 'multilabel' else '(N, ...)'}."
            )
        if target is not None and len(target) != len(decision):
            raise ValueError(f"`target` has {len(target)} rows, wanted the {len(decision)} of `decision`.")
        if not np.isfinite(probabilities).all():
            raise ValueError("`probabilities` has a number that is not finite. The model gave it: look there.")
        if not len(self._answers):
            self._answers = np.zeros(shape[1] + 1, dtype=np.int64)
        if shape[1] + 1 != len(self._answers):
            raise ValueError(f"`probabilities` has {shape[1]} columns, wanted {len(self._answers) - 1} as before.")

    def _keep(self, confidence: Array, outcome: Array) -> None:
        """Each of all rows is kept with the same chance (Vitter, 1985, doi:10.1145/3147.3165, algorithm R)."""
        place = np.arange(self.rows, self.rows + len(confidence))
        late = place >= len(self._confidence)
        place[late] = self._generator.integers(0, place[late] + 1)
        chosen = place < len(self._confidence)
        self._confidence[place[chosen]] = confidence[chosen]
        self._outcome[place[chosen]] = outcome[chosen]
        self.rows += len(confidence)

    def reference(self) -> DriftReference:
        """Of all rows that were added.

        Raises:
            ValueError: fewer than ``LEAST_ROWS``.
        """
        if self.rows < LEAST_ROWS:
            raise ValueError(f"A reference of {self.rows} rows, wanted {LEAST_ROWS} at least. Keep more samples.")
        confidence, outcome = self._confidence[: self.rows], self._outcome[: self.rows]
        edges = log_odds_edges(confidence)
        bins = np.bincount(np.searchsorted(edges, confidence, side="right"), minlength=len(edges) + 1)
        judged = outcome != _UNKNOWN
        starts = list(range(len(self._answers)))
        if len(starts) > MOST_CELLS:
            starts = pooled(self._answers.tolist(), least=self.rows / MOST_CELLS)
        return DriftReference(
            task=self.task,
            rows=self.rows,
            classes=len(self._answers) - 1,
            edges=tuple(edges.tolist()),
            confidence_counts=tuple(bins.tolist()),
            class_starts=tuple(start + NO_ANSWER for start in starts),
            class_counts=tuple(np.add.reduceat(self._answers, starts).tolist()),
            threshold=accuracy_threshold(confidence[judged], outcome[judged] == _RIGHT) if judged.any() else None,
            accuracy=self._right / self._judged if self._judged else None,
        )
