"""Saliency maps of a few samples, the mean maps of classes, and how faithful each method is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_posttrain.core.output.restored import restored, restored_fields
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.samples.result import SampleMaps


@dataclass(frozen=True, eq=False)
class Saliency(SampleMaps):
    """Saliency maps of a few samples, with what was measured of the methods.

    Args:
        faithfulness: how much each method's maps say of the model, where that was measured.
        classes: the mean map of each class, where that was worked out.
    """

    recorded_as: ClassVar[str] = "saliency"

    faithfulness: Faithfulness | None = None
    classes: ClassMeans | None = None

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The alarms, and which methods say no more than chance does."""
        return (*self.alarms, *(self.faithfulness.verdicts if self.faithfulness is not None else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Which methods are missing, and why, and which say no more than chance does."""
        return (*super().notes, *(self.faithfulness.verdicts if self.faithfulness is not None else ()))

    def to_dict(self) -> dict[str, Any]:
        """The samples, what was drawn, the figures, and the faithfulness; the maps themselves stay in ``maps``."""
        faithfulness = None if self.faithfulness is None else self.faithfulness.to_dict()
        return {**super().to_dict(), "faithfulness": faithfulness}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Saliency:
        """What ``to_dict`` gave, without what is drawn."""
        maps = super().from_dict(state)
        return replace(maps, faithfulness=restored(Faithfulness | None, state["faithfulness"]))


def only_figures(figures: Mapping[str, float]) -> Saliency:
    """What ranks but the first know."""
    return Saliency("tabular", torch.zeros(0), {}, {}, frozenset(), (), figures=figures)


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """The mean map of each class for that class, and the mean of the inputs.

    Args:
        names: the ``C`` classes.
        counts: samples of each ``(C,)``.
        images: ``(C, H, W, 3)`` float32 in 0 to 1.
        maps: ``(C, H, W)`` float32; NaN for a class without samples.
        title: of the method.
        signed: whether its maps have a sign.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    images: Tensor
    maps: Tensor
    title: str
    signed: bool


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Whether attribution maps say what the model does, each method beside maps that know nothing of the model.

    Args:
        rows: by method name, and ``"random"`` and ``"edge"``, the measures by name, as ``"insertion"``.
        titles: each method's name as people write it.
        samples: how many samples the measures are means over.
        skipped: what could not be measured, and the reason.
    """

    rows: Mapping[str, Mapping[str, float]]
    titles: Mapping[str, str]
    samples: int
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def alerts(self) -> tuple[str, ...]:
        """None: the figures are for judging methods, not the model."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing, and why."""
        return tuple(f"{what}: {reason}" for what, reason in self.skipped.items())

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Which methods tell the output no better than a random order of positions does."""
        chance = self.rows.get("random", {}).get("insertion", float("nan"))
        poor = [
            self.titles[name]
            for name, measures in self.rows.items()
            if name not in ("random", "edge") and measures.get("insertion", float("nan")) <= chance
        ]
        return (f"{', '.join(poor)}: no better than a random map for this model",) if poor else ()

    def scalars(self) -> dict[str, float]:
        """Nothing: a table is looked at."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The measures."""
        rows = {name: undefined_to_none(dict(measures)) for name, measures in self.rows.items()}
        about = {"titles": dict(self.titles), "samples": self.samples, "skipped": dict(self.skipped)}
        return {"methods": rows, **about}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Faithfulness:
        """What ``to_dict`` gave."""
        return restored_fields(cls, {**state, "rows": state["methods"]})
