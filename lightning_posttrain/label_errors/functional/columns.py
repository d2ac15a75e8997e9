"""In what form a table of histories keeps its columns: as they came while it is small, rounded where it is large."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 1 << 20
"""Bytes up to which the columns of a table are kept as they came."""
DECAY = 0.8
"""What an epoch's probabilities weigh after the next: the mean is over some five epochs."""
STEPS = 255
"""A rounded mean probability is a whole number of these parts."""
ROUNDING = 0.5 / STEPS / (1 - DECAY)
"""How far a rounded mean is from the exact one at most, 0.0098: half a step an epoch, each weighing 0.8 of the next."""
HIGHEST_LOSS = 65504.0
"""The largest number of float16; a rounded loss above it is given as this."""
COUNTS = ("learned", "forgotten", "wrong", "seen")
CLASSES = ("label", "predicted")


@dataclass(frozen=True)
class ColumnForm:
    """Types of the columns.

    Args:
        classes: of labels and predictions.
        counts: of how often and in how many epochs, at first; rounded or not, they are exact.
        loss: of losses.
        mean: of mean probabilities.
        given: of the probabilities of the running epoch.
    """

    classes: torch.dtype = torch.int32
    counts: torch.dtype = torch.int32
    loss: torch.dtype = torch.float32
    mean: torch.dtype = torch.float32
    given: torch.dtype = torch.float32

    @classmethod
    def of(cls, size: int, num_classes: int, *, probabilities: bool) -> ColumnForm:
        """That of a table of ``size`` samples.

        Example:
            >>> [ColumnForm.of(size, 10, probabilities=True).rounds for size in (10_000, 400_000)]
            [False, True]
        """
        exact = cls()
        if size * exact.kept_bytes(num_classes, probabilities=probabilities) <= EXACT:
            return exact
        small = next(kind for kind in (torch.uint8, torch.int16, torch.int32) if num_classes - 1 <= _most(kind))
        return cls(small, torch.uint8, torch.float16, torch.uint8, torch.float16)

    @property
    def rounds(self) -> bool:
        """Whether losses and mean probabilities are rounded."""
        return self.mean == torch.uint8

    def kept_bytes(self, num_classes: int, *, probabilities: bool) -> int:
        """Bytes of a sample at the end of an epoch."""
        each = len(CLASSES) * self.classes.itemsize + len(COUNTS) * self.counts.itemsize + self.loss.itemsize
        return each + probabilities * num_classes * self.mean.itemsize

    def all_bytes(self, num_classes: int, *, probabilities: bool) -> int:
        """Bytes of a sample, what the running epoch has told and the order in which it came among them."""
        fresh = len(CLASSES) * self.classes.itemsize + self.loss.itemsize + torch.int32.itemsize
        fresh += probabilities * num_classes * self.given.itemsize
        return self.kept_bytes(num_classes, probabilities=probabilities) + fresh

    def weighted(self, mean: Tensor, seen: Tensor) -> Tensor:
        """The weighted sums of probabilities that a column stands for, float32."""
        return mean.to(torch.float32) / STEPS * sum_of_weights(seen)[:, None] if self.rounds else mean

    def kept(self, weighted: Tensor, seen: Tensor) -> Tensor:
        """What is kept of weighted sums."""
        if not self.rounds:
            return weighted
        return (weighted / _at_least_once(seen)[:, None] * STEPS).round().clamp(0, STEPS).to(self.mean)

    def means(self, mean: Tensor, seen: Tensor) -> Tensor:
        """The mean probabilities that a column stands for; in float64 where they are exact."""
        if self.rounds:
            return mean.to(torch.float32) / STEPS
        return mean.double() / _at_least_once(seen.double())[:, None]

    def losses(self, loss: Tensor) -> Tensor:
        """Losses as they are kept; what is infinite stays."""
        if not self.rounds:
            return loss
        return torch.where(loss.isinf(), loss, loss.clamp(max=HIGHEST_LOSS)).to(self.loss)


def sum_of_weights(seen: Tensor) -> Tensor:
    """What the probabilities of so many epochs weigh together, each 0.8 of the next and the last 0.2."""
    return 1 - DECAY ** (seen if seen.is_floating_point() else seen.float())


def _at_least_once(seen: Tensor) -> Tensor:
    return sum_of_weights(seen).clamp(min=1 - DECAY)


def _most(kind: torch.dtype) -> int:
    return int(torch.iinfo(kind).max)


def widened(counts: Tensor) -> Tensor:
    """Counts in the smallest type that one more fits into.

    Example:
        >>> [widened(torch.tensor([count], dtype=torch.uint8)).dtype for count in (254, 255)]
        [torch.uint8, torch.int16]
    """
    if not len(counts) or int(counts.max()) < _most(counts.dtype):
        return counts
    return counts.to(torch.int16 if counts.dtype == torch.uint8 else torch.int32)


def packed(column: Tensor) -> Tensor:
    """A column as compressed bytes ``(B,)`` uint8, without loss: the first bytes of all its numbers, then the second.

    Example:
        >>> column = torch.arange(3, dtype=torch.int16)
        >>> torch.equal(unpacked(packed(column), torch.int16, 3), column)
        True
    """
    flat = column.detach().cpu().contiguous().view(-1).view(torch.uint8)
    planes = flat.view(-1, column.element_size()).T.contiguous()
    return torch.frombuffer(bytearray(zlib.compress(planes.numpy().tobytes(), 1)), dtype=torch.uint8)


def unpacked(content: Tensor, kind: torch.dtype, *shape: int) -> Tensor:
    """The column ``shape`` of a type that ``packed`` was given.

    Raises:
        ValueError: it is of another shape or type, or broken.
    """
    length = torch.Size(shape).numel() * kind.itemsize
    reader = zlib.decompressobj()
    try:
        # no more than one byte beyond, whatever a broken file says
        content_bytes = reader.decompress(content.cpu().numpy().tobytes(), length + 1)
    except zlib.error as error:
        raise ValueError(f"`state` has a column that cannot be unpacked: {error}. Start anew.") from error
    if len(content_bytes) != length or not reader.eof:
        raise ValueError(
            f"`state` has a column of {len(content_bytes)} bytes or more, wanted {length} for {tuple(shape)} numbers. "
            "Go on with the dataset and the classes that it was saved with, or start anew."
        )
    planes = (
        torch.frombuffer(bytearray(content_bytes), dtype=torch.uint8) if length else torch.empty(0, dtype=torch.uint8)
    )
    return planes.view(kind.itemsize, -1).T.contiguous().view(-1).view(kind).view(shape)
