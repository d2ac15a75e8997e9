"""What every result offers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from lightning_posttrain.core.output.restored import restored_fields

Own = TypeVar("Own", bound="Counted")


class Result(Protocol):
    """What every result offers."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that stand beside the figures."""

    @property
    def alerts(self) -> tuple[str, ...]:
        """Those of the notes that are also said as a warning, as rows that were left out."""

    def scalars(self) -> dict[str, float]:
        """The figures worth a curve, by the name that follows the stage in a tag."""

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain Python that JSON takes, with their ``"kind"``; undefined values are None."""


@dataclass(frozen=True, eq=False)
class Counted:
    """A result that is no more than what was counted.

    Attributes:
        recorded_as: the ``"kind"`` of its record, by which it is read back; "" for what has no file of its own.
    """

    recorded_as: ClassVar[str] = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The alerts."""
        return self.alerts

    @property
    def alerts(self) -> tuple[str, ...]:
        """None."""
        return ()

    def scalars(self) -> dict[str, float]:
        """Nothing: figures are in reports."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The fields as they are."""
        plain = {part.name: undefined_to_none(getattr(self, part.name)) for part in fields(self)}
        return {"kind": self.recorded_as, **plain} if self.recorded_as else plain

    @classmethod
    def from_dict(cls: type[Own], state: Mapping[str, Any]) -> Own:
        """What ``to_dict`` gave; what it leaves out is as if it had not been there."""
        return restored_fields(cls, state)


def listed(names: Sequence[str], limit: int = 8) -> str:
    """``names`` in a sentence, the first of them where they are many.

    Example:
        >>> listed(["cat", "dog", "owl"], limit=2)
        'cat, dog and 1 more'
    """
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def undefined_to_none(value: Any) -> Any:
    """Bring a value to what JSON takes, at any depth: tensors as lists, NaN and infinities as None."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): undefined_to_none(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [undefined_to_none(item) for item in value]
    return value
