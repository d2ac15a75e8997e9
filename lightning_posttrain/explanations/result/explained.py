"""A few samples, explained by what a model gives where parts of them are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.explanations.result.interpretation import Importance, LimeWeights, ShapleyValues
from lightning_posttrain.explanations.result.rule import Rule
from lightning_posttrain.samples.result import SampleMaps


@dataclass(frozen=True, eq=False)
class Explained:
    """What LIME, SHAP, Banzhaf values, RISE and Anchors say of a few samples.

    Args:
        saliency: the samples, and a map of each method, for the eye.
        parts: names of the parts of each sample, ``K`` times ``M``; "" for a part that it has not.
        values: by method, as ``"lime"``, that of each part ``(K, M)``.
        lime: the local linear models, or None.
        shap: the Shapley values, or None.
        rules: a rule of each sample, or none at all.
        class_names: of the classes that a rule can give.
        importance: Shapley values of many rows, or None.
        unit: what values are in, as ``"probability"``.
        figures: for curves, as ``"lime/fit"``; on ranks but the first there is no more.
    """

    saliency: SampleMaps
    parts: tuple[tuple[str, ...], ...] = ()
    values: Mapping[str, Tensor] = field(default_factory=dict)
    lime: LimeWeights | None = None
    shap: ShapleyValues | None = None
    rules: tuple[Rule, ...] = ()
    class_names: tuple[str, ...] = ()
    importance: Importance | None = None
    unit: str = "probability"
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def alerts(self) -> tuple[str, ...]:
        """None: explanations are looked at."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing, and why."""
        return self.saliency.notes

    def scalars(self) -> dict[str, float]:
        """How good the explanations are: of LIME ``fit`` and ``spread``, of SHAP ``gap``, of Anchors ``valid``."""
        return dict(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Each sample with its values by part, and its rule."""
        samples = []
        for k, sample in enumerate(self.saliency.samples):
            record: dict[str, Any] = vars(sample).copy()
            for method, values in self.values.items():
                record[method] = {name: value for name, value in self._named(k, values[k]) if name}
            if self.rules:
                record["rule"] = self.rules[k].to_dict()
            samples.append(record)
        found = {
            "kind": self.saliency.kind, "unit": self.unit, "figures": dict(self.figures), "samples": samples,
            "skipped": dict(self.saliency.skipped),
            "importance": None if self.importance is None else self.importance.to_dict(),
        }  # fmt: skip
        plain: dict[str, Any] = undefined_to_none(found)
        return plain

    def _named(self, k: int, values: Tensor) -> list[tuple[str, float]]:
        return list(zip(self.parts[k], values.tolist(), strict=True))


def only_figures(figures: Mapping[str, float]) -> Explained:
    """What ranks but the first know."""
    return Explained(SampleMaps("tabular", torch.zeros(0), {}, {}, frozenset(), ()), figures=figures)
