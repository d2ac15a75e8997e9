"""What a user says of an export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_posttrain.core.callback.options import at_least, one_of

FORMATS = ("onnx", "pt2", "safetensors", "aoti", "int8")
WEIGHTS = ("best", "last", "average", "ensemble")
USUAL = ("onnx", "pt2", "safetensors")


@dataclass(frozen=True, eq=False)
class Settings:
    """What a user says of an export; as ``ModelExport`` takes it.

    Raises:
        ValueError: an argument is out of its range.
    """

    formats: tuple[str, ...] = USUAL
    weights: str = "best"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    uint8: bool = False
    forward_fn: Callable[[Any, Any], Any] | None = None
    rows: int = 512
    test_rows: int | None = None
    folder: str | None = None

    @classmethod
    def of(
        cls,
        formats: Sequence[str],
        *,
        weights: str,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        rows: int,
        test_rows: int | None,
        **others: Any,
    ) -> Settings:
        """Checked."""
        said = (formats,) if isinstance(formats, str) else tuple(formats)
        for name in said:
            one_of("formats", name, FORMATS)
        if not said or len(set(said)) < len(said):
            raise ValueError(
                f"`formats` is {list(said)}, wanted each of {', '.join(FORMATS)} at most once, and one at least."
            )
        if weights not in WEIGHTS and Path(weights).name == weights and not Path(weights).suffix:
            known = ", ".join(map(repr, WEIGHTS))
            raise ValueError(f"`weights` is {weights!r}, wanted {known} or the path of a checkpoint.")
        at_least("rows", rows, 1)
        if test_rows is not None:
            at_least("test_rows", test_rows, 1)
        numbers = [None if each is None else tuple(float(x) for x in each) for each in (mean, std)]
        _check_scale(*numbers)
        return cls(said, weights=weights, mean=numbers[0], std=numbers[1], rows=rows, test_rows=test_rows, **others)

    @property
    def calibrates(self) -> bool:
        """Whether rows are wanted to calibrate a quantisation with, apart from those that it is judged by."""
        return "int8" in self.formats


def _check_scale(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    if (mean is None) != (std is None):
        missing = "std" if std is None else "mean"
        raise ValueError(f"`{missing}` is None, wanted mean and std, or neither. Pass the numbers of your Normalize.")
    if mean is not None and std is not None and len(mean) != len(std):
        raise ValueError(f"`mean` has {len(mean)} numbers and `std` {len(std)}, wanted one of each channel.")
    if std is not None and not all(value > 0 for value in std):
        raise ValueError(f"`std` is {list(std)}, wanted numbers above 0.")
