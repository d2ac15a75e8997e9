"""A few samples, explained by what a model gives where parts of them are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_posttrain.core.output.restored import restored
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.explanations.result.interpretation import Importance, LimeWeights, ShapleyValues
from lightning_posttrain.explanations.result.rule import Rule
from lightning_posttrain.samples.result import Sample, SampleMaps


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

    recorded_as: ClassVar[str] = "explanations"

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
            "kind": self.recorded_as, "inputs": self.saliency.kind, "unit": self.unit, "figures": dict(self.figures),
            "samples": samples, "methods": list(self.values), "class_names": self.class_names,
            "titles": dict(self.saliency.titles), "skipped": dict(self.saliency.skipped), "notes": self.notes,
            "importance": None if self.importance is None else self.importance.to_dict(),
        }  # fmt: skip
        plain: dict[str, Any] = undefined_to_none(found)
        return plain

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Explained:
        """What ``to_dict`` gave, without what is drawn."""
        samples, methods = state["samples"], state["methods"]
        parts = [tuple(sample[methods[0]]) if methods else () for sample in samples]
        most = max(map(len, parts), default=0)
        rows = {name: [[*sample[name].values(), *[None] * most][:most] for sample in samples] for name in methods}
        return cls(
            saliency=SampleMaps(
                kind=state["inputs"],
                shown=torch.zeros(0),
                maps={},
                titles=state["titles"],
                signed=frozenset(),
                samples=restored(tuple[Sample, ...], samples),
                skipped=state["skipped"],
            ),
            parts=tuple((*names, *[""] * most)[:most] for names in parts),
            values=restored(dict[str, Tensor], rows),
            rules=restored(tuple[Rule, ...], [sample["rule"] for sample in samples if "rule" in sample]),
            class_names=tuple(state["class_names"]),
            importance=restored(Importance | None, state["importance"]),
            unit=state["unit"],
            figures=restored(dict[str, float], state["figures"]),
        )

    def _named(self, k: int, values: Tensor) -> list[tuple[str, float]]:
        return list(zip(self.parts[k], values.tolist(), strict=True))


def only_figures(figures: Mapping[str, float]) -> Explained:
    """What ranks but the first know."""
    return Explained(SampleMaps("tabular", torch.zeros(0), {}, {}, frozenset(), ()), figures=figures)
