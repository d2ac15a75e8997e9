"""What each level of a network makes of a few samples, as figures and as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.samples.kinds import Kind

FIGURES = ("dead", "effective_rank", "border")


@dataclass(frozen=True, eq=False)
class StageMaps:
    """The maps of one layer.

    Args:
        name: dotted name of the layer.
        layer: name of its class.
        shape: of what it gives for a sample, ``(C, *grid)``.
        dead: share of channels that are 0 at all positions of all samples, 0 to 1.
        effective_rank: of the covariance of channels, 1 to ``C``; 0 where nothing varies, NaN where not finite.
        border: share of energy at the outermost positions over their share of the area; NaN without energy.
        signed: whether there are values below 0.
        channels: numbers of those that are drawn, which vary most over samples.
        explained: of each component of the colours, the share of the variance.
        peak: the largest energy of the samples that are drawn.
        energy: root mean square over channels ``(K, *grid)``; empty where it was read from a file.
        maps: of the channels that are drawn ``(K, 8, *grid)``, likewise.
        colors: principal components of channels as red, green and blue ``(K, *grid, 3)`` in 0 to 1, likewise.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    dead: float
    effective_rank: float
    border: float
    signed: bool
    channels: tuple[int, ...]
    explained: tuple[float, ...]
    peak: float
    energy: Tensor = field(default_factory=lambda: torch.zeros(0))
    maps: Tensor = field(default_factory=lambda: torch.zeros(0))
    colors: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def size(self) -> str:
        """Channels and sides, as ``"64 × 16 × 16"``."""
        return " × ".join(map(str, self.shape))

    def to_dict(self) -> dict[str, Any]:
        """All but the tensors, as plain values."""
        plain = {key: value for key, value in vars(self).items() if not isinstance(value, Tensor)}
        return {key: undefined_to_none(value) for key, value in plain.items()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> StageMaps:
        """What ``to_dict`` gave; without tensors."""
        parts: dict[str, Any] = {key: math.nan if value is None else value for key, value in state.items()}
        parts.update({key: tuple(value) for key, value in parts.items() if isinstance(value, list)})
        return cls(**parts)


@final
@dataclass(frozen=True, eq=False)
class FeatureMapsResult:
    """The maps of one layer for each resolution of a network, of a few samples.

    Args:
        inputs: what the samples are, which says how they are drawn.
        samples: positions in the dataset of all samples, or None where not known; the first of them are drawn.
        stages: in the order of the forward.
        figures: by number and name of the stage, as ``"0_layer1/dead"``.
        skipped: layers that were named and have no maps, and the reason.
        remarks: sentences without a full stop, as on modules that are called several times.
        shown: the samples that are drawn: images and spectrograms ``(K, H, W, 3)`` float32 in 0 to 1, series
            ``(K, C, T)``, token indices ``(K, T)``.
        names: of channels of a series, where there are such.
        words: of each drawn sample of tokens, ``K`` times ``T``.
    """

    kind: ClassVar[str] = "feature_maps"

    inputs: Kind
    samples: tuple[int | None, ...] = ()
    stages: tuple[StageMaps, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    shown: Tensor = field(default_factory=lambda: torch.zeros(0))
    names: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()

    def __getitem__(self, name: str) -> StageMaps:
        """The stage of a layer."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"{name!r}, wanted one of {', '.join(stage.name for stage in self.stages) or 'none'}")

    @property
    def alerts(self) -> tuple[str, ...]:
        """Layers that were named and have no maps, and what is not finite."""
        missing = tuple(f"no feature maps of `{name}`: {reason}" for name, reason in self.skipped.items())
        broken = tuple(stage.name for stage in self.stages if math.isnan(stage.effective_rank))
        return (*missing, *(f"`{name}` gives values that are not finite, drawn as 0" for name in broken))

    @property
    def notes(self) -> tuple[str, ...]:
        """The alerts, and remarks."""
        return (*self.alerts, *self.remarks)

    def __str__(self) -> str:
        """A table for people."""
        head = ("stage", "layer", "shape", "dead", "effective rank", "border")
        lines = [
            (
                stage.name, stage.layer, stage.size, f"{stage.dead:.1%}", f"{stage.effective_rank:.1f}",
                "" if math.isnan(stage.border) else f"{stage.border:.2f}",
            )
            for stage in self.stages
        ]  # fmt: skip
        return "\n".join([*in_columns([head, *lines], right=range(3, 6)), *(f"{note}." for note in self.notes)])

    def scalars(self) -> dict[str, float]:
        """The figures of each stage, as ``"feature_maps/0_layer1/dead"``."""
        return {f"{self.kind}/{name}": value for name, value in self.figures.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """The samples and the figures; the maps themselves stay in ``stages``."""
        stages = [stage.to_dict() for stage in self.stages]
        return {
            "kind": self.kind, "inputs": self.inputs, "samples": list(self.samples), "stages": stages,
            "figures": undefined_to_none(dict(self.figures)), "skipped": dict(self.skipped),
            "remarks": list(self.remarks),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> FeatureMapsResult:
        """What ``to_dict`` gave, without what is drawn."""
        figures = {name: math.nan if value is None else value for name, value in state["figures"].items()}
        return cls(
            state["inputs"], tuple(state["samples"]), tuple(map(StageMaps.from_dict, state["stages"])), figures,
            dict(state["skipped"]), tuple(state["remarks"]),
        )  # fmt: skip


def figures_of(stages: tuple[StageMaps, ...]) -> dict[str, float]:
    """The figures of stages by names that loggers hold: the number first, so that they stand in order."""
    return {
        f"{place}_{stage.name}/{figure}": float(getattr(stage, figure))
        for place, stage in enumerate(stages)
        for figure in FIGURES
    }
