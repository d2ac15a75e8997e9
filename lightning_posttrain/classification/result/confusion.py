"""How often each class was predicted as each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.core.output.result import Counted, listed

DENSE = 100
"""With more classes than this, counts that are read from a file are sparse."""


class ClassCounts(NamedTuple):
    """For each class ``(..., C)`` float64: rows that are of it and predicted so, and the three other cases."""

    true_positive: Tensor
    false_positive: Tensor
    false_negative: Tensor
    true_negative: Tensor

    @property
    def support(self) -> Tensor:
        """Rows of each class."""
        return self.true_positive + self.false_negative

    @property
    def predicted(self) -> Tensor:
        """Rows predicted as each class."""
        return self.true_positive + self.false_positive

    @property
    def total(self) -> Tensor:
        """All rows."""
        return self.support + self.false_positive + self.true_negative


def left_out(nonfinite: int, out_of_range: int) -> tuple[str, ...]:
    """Sentences on rows that enter no figure."""
    causes = ((nonfinite, "scores are NaN or infinite"), (out_of_range, "target is no class"))
    return tuple(f"{count} rows left out: their {cause}" for count, cause in causes if count)


def left_out_on_purpose(ignored: tuple[int, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence on classes that ``ignore_index`` leaves out."""
    said = listed([names[k] for k in ignored])
    text = f"rows of {said} are left out by ignore_index: no figures of it, nor is it in a mean; to predict it is wrong"
    return (text,) if ignored else ()


@dataclass(frozen=True, eq=False)
class Confusion(Counted):
    """How often each actual class was predicted as each class.

    Args:
        counts: ``(C, C)`` int64; rows are the actual class, columns the predicted one. Sparse (COO, coalesced) for
            many classes.
        class_names: ``C`` names.
        nonfinite: rows left out because their scores were NaN or infinite.
        out_of_range: rows left out because their target is no class.
        of_all: rows of each class ``(C,)`` where ``counts`` holds some of all classes only, else None.
        ignored: classes whose rows are left out on purpose, by ``ignore_index``; they have no figures of their own.
    """

    recorded_as: ClassVar[str] = "confusion_matrix"

    counts: Tensor
    class_names: tuple[str, ...]
    nonfinite: int = 0
    out_of_range: int = 0
    of_all: Tensor | None = None
    ignored: tuple[int, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The alerts, and which classes are ignored."""
        return (*self.alerts, *left_out_on_purpose(self.ignored, self.class_names))

    @cached_property
    def cells(self) -> tuple[Tensor, Tensor]:
        """Actual and predicted class ``(2, K)`` of the cells that are not zero, row by row, and their counts."""
        if self.counts.is_sparse:
            return self.counts.indices(), self.counts.values()
        place = self.counts.nonzero().t()
        return place, self.counts[place[0], place[1]]

    @cached_property
    def support(self) -> Tensor:
        """Rows of each actual class ``(C,)``, int64."""
        if self.of_all is not None:
            return self.of_all
        place, count = self.cells
        return torch.zeros(len(self.class_names), dtype=torch.int64).index_add_(0, place[0], count)

    @property
    def normalized(self) -> Tensor:
        """Shares ``(C, C)`` float64 of each actual class; a class without rows is NaN."""
        return self.counts.to_dense().double() / self.support.double()[:, None]

    @property
    def alerts(self) -> tuple[str, ...]:
        """Which rows are not in ``counts``, and why; and a doubt."""
        return (*left_out(self.nonfinite, self.out_of_range), *self._unlikely())

    def _unlikely(self) -> tuple[str, ...]:
        """A doubt where many rows have no target in the upper half of unnamed classes: features have such columns."""
        half = len(self.support) // 2
        named = self.class_names != tuple(map(str, range(len(self.support))))
        if named or half < 4 or int(self.support[:half].sum()) < 30 or bool(self.support[half:].any()):
            return ()
        return (
            f"no row has a target from {half} to {len(self.support) - 1}: if what was taken for scores are features, "
            'return {"logits": logits} from the step or pass num_classes=...',
        )

    def of(self, classes: list[int]) -> Confusion:
        """The matrix of some classes alone, in their order."""
        chosen = torch.tensor(classes)
        if self.counts.is_sparse:
            counts = self.counts.index_select(0, chosen).index_select(1, chosen).to_dense()
        else:
            counts = self.counts[chosen][:, chosen]
        return Confusion(counts, tuple(self.class_names[i] for i in classes), of_all=self.support[chosen])

    def to_dict(self) -> dict[str, Any]:
        """Cells that are not zero, each as actual class, predicted class and count, by the numbers of the classes."""
        place, count = self.cells
        return {
            "kind": self.recorded_as,
            "class_names": list(self.class_names),
            "cells": torch.stack([*place, count], dim=1).tolist(),
            "nonfinite": self.nonfinite,
            "out_of_range": self.out_of_range,
            "of_all": None if self.of_all is None else self.of_all.tolist(),
            "ignored": list(self.ignored),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Confusion:
        """What ``to_dict`` gave."""
        cells = torch.tensor(state["cells"], dtype=torch.int64).view(-1, 3)
        names, of_all = tuple(state["class_names"]), state["of_all"]
        shape = (len(names), len(names))
        counts = torch.sparse_coo_tensor(cells[:, :2].t(), cells[:, 2], shape, check_invariants=True).coalesce()
        return cls(
            counts=counts if len(names) > DENSE else counts.to_dense(),
            class_names=names,
            nonfinite=state["nonfinite"],
            out_of_range=state["out_of_range"],
            of_all=None if of_all is None else torch.tensor(of_all, dtype=torch.int64),
            ignored=tuple(state["ignored"]),
        )


@dataclass(frozen=True, eq=False)
class LabelConfusion(Counted):
    """How often each label was there and predicted.

    Args:
        counts: ``(L, 2, 2)`` int64; rows are whether the label is there, columns whether it was predicted.
        class_names: ``L`` names.
        rows: rows with at least one label to predict.
        exact: rows of which all labels were predicted right.
        nonfinite: pairs of a row and a label that were left out because their score was NaN.
        out_of_range: those left out because their target was neither 0 nor 1.
    """

    recorded_as: ClassVar[str] = "label_confusion"

    counts: Tensor
    class_names: tuple[str, ...]
    rows: int = 0
    exact: int = 0
    nonfinite: int = 0
    out_of_range: int = 0

    @property
    def support(self) -> Tensor:
        """Rows with each label ``(L,)``, int64."""
        return self.counts[:, 1].sum(dim=1)

    @property
    def alerts(self) -> tuple[str, ...]:
        """Which labels of rows are not in ``counts``, and why."""
        return tuple(text.replace("rows", "labels") for text in left_out(self.nonfinite, self.out_of_range))


@dataclass(frozen=True)
class ConfusedPair:
    """One cell off the diagonal of a confusion matrix; ``share`` is of the actual class."""

    actual: str
    predicted: str
    count: int
    share: float
