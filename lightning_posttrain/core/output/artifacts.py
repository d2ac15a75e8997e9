"""What a sink may receive. A renderer makes these, a sink writes them; neither knows the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Cell: TypeAlias = "str | int | float | None"


@dataclass(frozen=True, eq=False)
class Image:
    """A picture: ``pixels (H, W, 3)``, uint8 RGB.

    Args:
        pixels: what it shows.
        photo: a photograph: written as JPEG, a quarter of the bytes at equal look. Flat colours and lines are fewer
            bytes as PNG, the default.
        files_only: one of many, for sinks that keep files.
        loggers_only: for sinks that show, as the files have it under another name.
    """

    pixels: Tensor
    photo: bool = False
    files_only: bool = False
    loggers_only: bool = False


@dataclass(frozen=True)
class Picture:
    """An image as the bytes of a file, of so many pixels; ``suffix`` is ``".png"`` or ``".jpg"``."""

    content: bytes
    suffix: str
    height: int
    width: int


@dataclass(frozen=True)
class Table:
    """Rows under named columns; ``note`` is a sentence below them. None is a value that is not defined.

    A table that only a program would read whole is for files only; one that says what stands in other files is not.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    files_only: bool = False
    loggers_only: bool = False


@dataclass(frozen=True)
class File:
    """Bytes for a file, for sinks that keep files. ``suffix`` names the format, as ``".json"``."""

    content: bytes
    suffix: str


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Counts at thresholds that rise evenly from 0 to 1, each ``(K,)``; for sinks that draw such a curve themselves."""

    true_positive: Tensor
    false_positive: Tensor
    true_negative: Tensor
    false_negative: Tensor


@dataclass(frozen=True)
class ChartLayout:
    """Which scalars share a chart: by the title of a group, by that of a chart, their tags; for sinks with charts."""

    groups: Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Cleared:
    """What was kept before under a tag, and under all that begin with it and a slash, is to go."""


Artifact: TypeAlias = "Image | Picture | Table | File | PrecisionRecall | ChartLayout | Cleared"


@dataclass(frozen=True, eq=False)
class Tagged:
    """An artifact and the name under which sinks keep it, as ``"confusion_matrix"``."""

    tag: str
    artifact: Artifact
