"""The samples that a model finds hardest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from lightning_posttrain.core.output.restored import restored, restored_fields
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.samples.kinds import Kind


@dataclass(frozen=True)
class HardExample:
    """What is known of one sample.

    Args:
        index: position in the dataset, or None where not known.
        actual: its class; of a multilabel row its labels.
        predicted: predicted class, or labels.
        probability: of the predicted class; of several labels that of the surest wrong one, or where all are right that
            of the least sure.
        loss: its log loss; of a multilabel row, and of positions of an image, the mean.
        text: the words of its tokens, or None.
    """

    index: int | None
    actual: str
    predicted: str
    probability: float
    loss: float
    text: str | None = None

    @property
    def right(self) -> bool:
        """Whether it was predicted as it is."""
        return self.actual == self.predicted


@dataclass(frozen=True, eq=False)
class HardGroup:
    """Samples that one rule chose, the hardest first.

    Args:
        name: of the rule, for tags and files, as ``"highest_loss"``.
        title: for people, as ``"highest loss"`` or ``"cat taken for dog, 12 times"``.
        examples: ``K`` of them.
        shown: for the eye: images and spectrograms ``(K, H, W, 3)`` float32 in 0 to 1, series ``(K, C, T)``, tabular
            rows ``(K, F)``; None for tokens, and where the inputs cannot be shown.
        truth: of images with a class at each position, that class ``(K, h, w)`` int16, -1 where none counts; or None.
        said: the predicted class, likewise.
    """

    name: str
    title: str
    examples: tuple[HardExample, ...]
    shown: Tensor | None = None
    truth: Tensor | None = None
    said: Tensor | None = None


@dataclass(frozen=True, eq=False)
class HardReport:
    """The hardest samples of an epoch, by rule and by cell of the confusion matrix.

    Args:
        groups: by rule: highest loss, most confident errors, least confident hits.
        cells: the most confused pairs of classes, each with its worst samples.
        kind: of the inputs, or None where they cannot be shown.
        names: of features or channels, where there are such.
        rows: samples in the epoch.
        undrawn: why inputs are not shown, or nothing.
        classes: names that the numbers in masks stand for.
        colors: how values became the colours that are shown, in a sentence, or "".
    """

    recorded_as: ClassVar[str] = "hard_examples"

    groups: tuple[HardGroup, ...]
    cells: tuple[HardGroup, ...] = ()
    kind: Kind | None = None
    names: tuple[str, ...] = ()
    rows: int = 0
    undrawn: str = ""
    colors: str = ""
    classes: tuple[str, ...] = ()

    @property
    def alerts(self) -> tuple[str, ...]:
        """None: hard samples are no fault."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Why inputs are not shown."""
        return (self.undrawn,) if self.undrawn else ()

    def every(self) -> Iterator[tuple[str, int, HardExample]]:
        """Name of the group, rank from 1, and sample, of all."""
        for group in (*self.groups, *self.cells):
            yield from ((group.name, rank, example) for rank, example in enumerate(group.examples, start=1))

    def scalars(self) -> dict[str, float]:
        """Nothing: samples are looked at."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The samples of each group; what is shown of them stays in ``shown``."""
        found = {
            part: {group.name: [vars(example).copy() for example in group.examples] for group in groups}
            for part, groups in (("groups", self.groups), ("cells", self.cells))
        }
        titles = {group.name: group.title for group in (*self.groups, *self.cells)}
        words = {"undrawn": self.undrawn, "colors": self.colors}
        about = {"titles": titles, "inputs": self.kind, "names": self.names, "classes": self.classes, **words}
        record: dict[str, Any] = undefined_to_none(
            {"kind": self.recorded_as, "rows": self.rows, **found, **about, "notes": self.notes}
        )
        return record

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> HardReport:
        """What ``to_dict`` gave, without what is shown."""
        groups, cells = (
            tuple(
                HardGroup(name, state["titles"][name], restored(tuple[HardExample, ...], examples))
                for name, examples in state[part].items()
            )
            for part in ("groups", "cells")
        )
        words = {name: state[name] for name in ("undrawn", "colors")}
        lists = {name: tuple(state.get(name, ())) for name in ("names", "classes")}
        about = {"kind": state["inputs"], **lists, **words}
        return cls(groups, cells, rows=state["rows"], **about)


@dataclass(frozen=True)
class MiningSpread:
    """How unevenly hard examples are drawn.

    Args:
        spread: effective sample size of the draws, as a share of all samples; 1 is plain shuffling.
    """

    recorded_as: ClassVar[str] = "mining"

    spread: float

    @property
    def alerts(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def scalars(self) -> dict[str, float]:
        """The spread."""
        return {"spread": self.spread}

    def to_dict(self) -> dict[str, Any]:
        """The spread."""
        record: dict[str, Any] = undefined_to_none({"kind": self.recorded_as, "spread": self.spread})
        return record

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> MiningSpread:
        """What ``to_dict`` gave."""
        return restored_fields(cls, state)
