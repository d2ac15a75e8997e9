"""What a user says of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_posttrain.core.callback.options import at_least, one_of
from lightning_posttrain.core.stream.replay import ForwardFn
from lightning_posttrain.export.formats import FORMATS

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
    forward_fn: ForwardFn | None = None
    rows: int = 512
    test_rows: int | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        for name in self.formats:
            one_of("formats", name, tuple(FORMATS))
        if not self.formats or len(set(self.formats)) < len(self.formats):
            known = ", ".join(FORMATS)
            raise ValueError(
                f"`formats` is {list(self.formats)}, wanted each of {known} at most once, and one at least."
            )
        if self.weights not in WEIGHTS and Path(self.weights).name == self.weights and not Path(self.weights).suffix:
            known = ", ".join(map(repr, WEIGHTS))
            raise ValueError(f"`weights` is {self.weights!r}, wanted {known} or the path of a checkpoint.")
        at_least("rows", self.rows, 1)
        if self.test_rows is not None:
            at_least("test_rows", self.test_rows, 1)
        _check_scale(self.mean, self.std)
        if self.folder is not None and "://" in self.folder:
            raise ValueError(
                f"`folder` is {self.folder!r}, wanted a local path, where an export can be run. Copy it from there."
            )

    @property
    def calibrates(self) -> bool:
        """Whether rows are wanted to calibrate a quantisation with, apart from those that it is judged by."""
        return "int8" in self.formats


def listed(formats: str | Sequence[str]) -> tuple[str, ...]:
    """Names of formats; one may stand alone."""
    return (formats,) if isinstance(formats, str) else tuple(formats)


def numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
    """As Settings has them, whatever numbers they are."""
    return None if values is None else tuple(map(float, values))


def _check_scale(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    if (mean is None) != (std is None):
        missing = "std" if std is None else "mean"
        raise ValueError(f"`{missing}` is None, wanted mean and std, or neither. Pass the numbers of your Normalize.")
    if mean is not None and std is not None and len(mean) != len(std):
        raise ValueError(f"`mean` has {len(mean)} numbers and `std` {len(std)}, wanted one of each channel.")
    if std is not None and not all(value > 0 for value in std):
        raise ValueError(f"`std` is {list(std)}, wanted numbers above 0.")
