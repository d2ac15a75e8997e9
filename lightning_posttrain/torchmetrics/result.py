"""Values of metrics that nobody here wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_posttrain.core.output.result import Counted


@dataclass(frozen=True, eq=False)
class MetricValues(Counted):
    """What metrics gave, by name: numbers, vectors ``(C,)``, matrices ``(R, C)`` and larger tensors.

    Args:
        values: tensors on the CPU.
        class_names: names for the entries of vectors and matrices of that length, or None.
        failed: metrics that gave no value, and why.
    """

    recorded_as: ClassVar[str] = "torchmetrics"

    values: Mapping[str, Tensor]
    class_names: tuple[str, ...] | None
    failed: Mapping[str, str]

    @property
    def alerts(self) -> tuple[str, ...]:
        """Metrics without a value."""
        return tuple(f"{name} gave no value: {reason}" for name, reason in self.failed.items())

    def scalars(self) -> dict[str, float]:
        """The numbers."""
        return {name: float(value) for name, value in self.values.items() if value.numel() == 1}

    def vectors(self) -> dict[str, Tensor]:
        """The vectors."""
        return {name: value for name, value in self.values.items() if value.ndim == 1 and value.numel() > 1}

    def matrices(self) -> dict[str, Tensor]:
        """The matrices."""
        return {name: value for name, value in self.values.items() if value.ndim == 2 and value.numel() > 1}

    def names_of(self, length: int) -> tuple[str, ...]:
        """Names for so many entries: those of the classes where they fit, else numbers."""
        fit = self.class_names is not None and len(self.class_names) == length
        return self.class_names if fit and self.class_names is not None else tuple(map(str, range(length)))
