"""A few samples of an epoch and maps of importance over them, as every picture of samples draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from lightning_posttrain.core.output.restored import restored
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.samples.kinds import Kind

Own = TypeVar("Own", bound="SampleMaps")
GAP = "_gap"


@dataclass(frozen=True)
class Sample:
    """What is known of one explained sample.

    Args:
        index: position in the dataset, or None where not known.
        explained: what the maps explain, as ``"cat"``, ``"cat rather than dog"`` or ``"output"``.
        value: of the explained function, as the logit of the class; of a network with one logit for two classes that
            logit for class 1, minus it for class 0.
        actual: actual class, or None where there are no classes.
        predicted: predicted class, or None.
        probability: of the predicted class, or None.
        baseline: value of the explained function for the baseline, where a map adds up to the difference; or None.
        unit: of ``value`` and ``baseline`` where these are of perturbed inputs: ``"probability"``, ``"logit"`` or
            ``"output"``; else "".
        remarks: how good its explanations are, in sentences without a full stop.
        doubts: reasons not to trust them, likewise.
    """

    index: int | None
    explained: str
    value: float
    actual: str | None = None
    predicted: str | None = None
    probability: float | None = None
    baseline: float | None = None
    unit: str = ""
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SampleMaps:
    """Attribution maps of a few samples.

    Args:
        kind: what the samples are, which says how they are drawn.
        shown: the samples for the eye: images and spectrograms ``(K, H, W, 3)`` float32 in 0 to 1, series
            ``(K, C, T)``, tabular rows ``(K, F)``, token indices ``(K, T)``.
        maps: by method name ``(K, H, W)``, ``(K, T)`` or ``(K, F)`` float32, in the method's own units.
        titles: each method's name as people write it.
        signed: methods whose maps have a sign: positive speaks for what is explained, negative against it.
        samples: what is known of each, ``K`` of them.
        names: of features or channels, where there are such.
        words: of each sample of tokens, ``K`` times ``T``.
        layer: the layer that class activation maps were taken from, or None.
        skipped: methods without any map, and the reason.
        refused: by method, samples whose map is known to be wrong, and the reason.
        gaps: by method with a completeness axiom, the share of the change in output that each map leaves out ``(K,)``.
        shared_scale: whether all maps of a method are drawn on one scale.
        figures: for curves over the epochs, as ``"hirescam/drift"``.
        alarms: what the user should look at, in plain words.
        regions: the part that each pixel of images and spectrograms belongs to, ``(K, H, W)`` int64, where maps are of
            whole parts.
        said: how to read the maps, in sentences.
        least_scale: what full colour stands for at least, where maps share a scale.
        by_channel: of series with several channels the maps before these are added up, ``(K, C, T)``, where known.
        colors: how values became the colours of ``shown``, in a sentence, or "".
        marks: for each sample, what is written on parts of its regions, by their number, as ``{41: "42"}``.
    """

    recorded_as: ClassVar[str] = "sample_maps"

    kind: Kind
    shown: Tensor
    maps: Mapping[str, Tensor]
    titles: Mapping[str, str]
    signed: frozenset[str]
    samples: tuple[Sample, ...]
    names: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()
    layer: str | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    gaps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shared_scale: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    regions: Tensor | None = None
    least_scale: float = 0.0
    marks: tuple[Mapping[int, str], ...] = ()
    colors: str = ""
    by_channel: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def alerts(self) -> tuple[str, ...]:
        """What the user should look at."""
        return self.alarms

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What to know before the maps are looked at, in sentences without a full stop."""
        return self.alarms

    @property
    def notes(self) -> tuple[str, ...]:
        """Which methods are missing, and why."""
        reasons: dict[str, list[str]] = {}
        for method, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(self.titles.get(method, method))
        missing = [f"{', '.join(methods)}: {reason}" for reason, methods in reasons.items()]
        return tuple(missing)

    def scalars(self) -> dict[str, float]:
        """The figures, by the name of the method and theirs, as ``"hirescam/drift"``."""
        return dict(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """The samples, what was drawn and the figures; the maps themselves stay in ``maps``."""
        samples: list[dict[str, Any]] = [vars(sample).copy() for sample in self.samples]
        for method, gaps in self.gaps.items():
            for sample, gap in zip(samples, gaps, strict=True):
                sample[f"{method}{GAP}"] = gap
        drawn = {
            "inputs": self.kind, "methods": list(self.maps), "titles": dict(self.titles), "signed": sorted(self.signed),
            "layer": self.layer, "skipped": dict(self.skipped),
        }  # fmt: skip
        refused = {method: {str(row): why for row, why in rows.items()} for method, rows in self.refused.items()}
        figures = undefined_to_none(dict(self.figures))
        return {
            "kind": self.recorded_as, "samples": undefined_to_none(samples), **drawn, "refused": refused,
            "figures": figures, "alarms": list(self.alarms), "said": list(self.said), "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls: type[Own], state: Mapping[str, Any]) -> Own:
        """What ``to_dict`` gave, without what is drawn."""
        samples, nothing = state["samples"], torch.zeros(0)
        gaps = [name.removesuffix(GAP) for name in (samples[0] if samples else ()) if name.endswith(GAP)]
        return cls(
            kind=state["inputs"],
            shown=nothing,
            maps=dict.fromkeys(state["methods"], nothing),
            titles=state["titles"],
            signed=frozenset(state["signed"]),
            samples=restored(tuple[Sample, ...], samples),
            layer=state["layer"],
            skipped=state["skipped"],
            refused=restored(dict[str, dict[int, str]], state["refused"]),
            gaps={name: restored(tuple[float, ...], [sample[name + GAP] for sample in samples]) for name in gaps},
            figures=restored(dict[str, float], state["figures"]),
            alarms=tuple(state["alarms"]),
            said=tuple(state["said"]),
        )
