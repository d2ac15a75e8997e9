"""What inputs were like: their range, mean and standard deviation over all batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from lightning_posttrain.export.signature import Array

MOST_CHANNELS = 64
"""That are told apart."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the values of each channel ``(C,)``: how many, lowest, highest, mean, and sum of squares around it."""

    count: Array
    low: Array
    high: Array
    mean: Array
    squares: Array

    @classmethod
    def of(cls, values: Array) -> Moments:
        """Of values ``(C, n)``."""
        wide = values.astype(np.float64)
        mean = wide.mean(1)
        count = np.full(len(wide), wide.shape[1], dtype=np.float64)
        return cls(count, wide.min(1), wide.max(1), mean, ((wide - mean[:, None]) ** 2).sum(1))

    def merged(self, other: Moments) -> Moments:
        """Of the values of both (Chan, Golub and LeVeque, 1983, doi:10.1080/00031305.1983.10483115)."""
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * other.count / count
        squares = self.squares + other.squares + apart**2 * self.count * other.count / count
        return Moments(count, np.minimum(self.low, other.low), np.maximum(self.high, other.high), mean, squares)

    def of_all(self) -> Moments:
        """Of the values of all channels together."""
        count, mean = self.count.sum(), np.average(self.mean, weights=self.count)
        squares = (self.squares + self.count * (self.mean - mean) ** 2).sum()
        return Moments(*(np.array([each]) for each in (count, self.low.min(), self.high.max(), mean, squares)))


@final
class InputStatistics:
    """Range, mean and standard deviation of inputs over batches, by channel where these are at most 64.

    Channels are the second dimension of floats and bytes. Where their number differs between batches, as that of the
    steps of a sequence, and of whole numbers, all values are taken together.
    """

    def __init__(self) -> None:
        self._moments: dict[str, Moments] = {}

    def add(self, inputs: Mapping[str, Array]) -> None:
        """See a batch, by input."""
        for name, array in inputs.items():
            if array.size:
                found, known = Moments.of(_by_channel(array)), self._moments.get(name)
                self._moments[name] = found if known is None else _together(known, found)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """By input, ``{"low", "high", "mean", "std"}`` of each channel, in six digits."""
        return {
            name: {
                "low": _digits(found.low),
                "high": _digits(found.high),
                "mean": _digits(found.mean),
                "std": _digits(np.sqrt(found.squares / found.count)),
            }
            for name, found in self._moments.items()
        }


def _together(known: Moments, found: Moments) -> Moments:
    if len(known.count) == len(found.count):
        return known.merged(found)
    return known.of_all().merged(found.of_all())


def _by_channel(array: Array) -> Array:
    """Values ``(C, n)``."""
    signal = array.dtype.kind == "f" or array.dtype == np.uint8
    if signal and array.ndim > 1 and array.shape[1] <= MOST_CHANNELS:
        return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
    return array.reshape(1, -1)


def _digits(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
