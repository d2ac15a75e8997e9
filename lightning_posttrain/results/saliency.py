"""Attribution maps of a few samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lightning_posttrain.results.base import undefined_to_none


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
