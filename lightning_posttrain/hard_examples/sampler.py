"""A sampler that draws hard examples more often."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any, final

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DistributedSampler


@final
class HardExampleSampler(DistributedSampler[int]):
    r"""Draws the samples of a dataset in proportion to their losses, and none too seldom.

    Position :math:`i` of :math:`N` is drawn with probability :math:`f / N + (1 - f)\, l_i / \sum_j l_j` for a floor
    :math:`f`, with replacement. To draw by loss is the classical form of importance sampling that Katharopoulos and
    Fleuret (2018, arXiv:1803.00942) start from; here losses are not weighed back, as the purpose is to see hard
    examples more often (Shrivastava et al., 2016, arXiv:1604.03540). Draws are systematic: of :math:`n`, position
    :math:`i` gets :math:`n p_i` rounded down or up, so that chance adds little.

    While no losses are known, each epoch is a plain permutation. Lightning leaves the sampler as it is under DDP and
    tells it the epoch; ranks are looked up when they are needed, so it can be made before they exist. All ranks must
    be given the same losses: they draw one list, and rank ``r`` of ``R`` reads each ``R``-th of it from the ``r``-th.

    A label error has a large loss too, and is then drawn often: look at the flagged ones first.

    Args:
        dataset: what is drawn from, or its length ``N``.
        floor: share of the draws that is spread evenly, above 0 and at most 1; 1 ignores losses.
        num_samples: draws in an epoch, of all ranks together; ``N`` by default.
        seed: of its random numbers, 0 or more; the same on all ranks.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> sampler = HardExampleSampler(4, floor=0.2, num_samples=1000)
        >>> sampler.update_losses(torch.tensor([0.0, 1.0, 1.0, 2.0]))
        >>> torch.bincount(torch.tensor(list(sampler))).tolist()
        [50, 250, 250, 450]
    """

    def __init__(
        self, dataset: Sized | int, *, floor: float = 0.3, num_samples: int | None = None, seed: int = 0
    ) -> None:
        data: Any = range(dataset) if isinstance(dataset, int) else dataset
        size = len(data)
        _check(size, floor, num_samples, seed)
        super().__init__(data, num_replicas=1, rank=0, seed=seed)
        self.floor = floor
        self._draws = size if num_samples is None else num_samples
        self._losses = torch.full((size,), torch.nan, dtype=torch.float64)
        self._positions: list[int] = []
        self._find_rank()

    @property
    def positions(self) -> list[int]:
        """This rank's positions in the dataset in the order of the running epoch, or of the last; first none."""
        return self._positions

    @property
    def losses(self) -> Tensor:
        """What the next epochs are drawn by ``(N,)`` float64; NaN where not known."""
        return self._losses

    def update_losses(self, losses: Tensor) -> None:
        """Take the losses ``(N,)`` that the next epochs are drawn by; the running one is not changed.

        A NaN is a loss that is not known, and is taken as the mean of the others; infinity is taken as the largest
        that is finite.

        Raises:
            ValueError: they are not ``N``, or one is negative.
        """
        if losses.shape != self._losses.shape:
            raise ValueError(
                f"`losses` has shape {tuple(losses.shape)}, wanted ({len(self._losses)},): one for each position of "
                "the dataset, NaN where it is not known."
            )
        bad = losses[losses < 0]
        if len(bad):
            raise ValueError(f"`losses` holds {float(bad[0]):.3g}, wanted 0 or more. Clamp them, or add a constant.")
        self._losses = losses.detach().to("cpu", torch.float64, copy=True)

    def probabilities(self) -> Tensor:
        """How probable each position is in a draw of the next epoch ``(N,)`` float64."""
        return self.floor / len(self._losses) + (1 - self.floor) * _shares(self._losses)

    def __iter__(self) -> Iterator[int]:
        self._find_rank()
        drawn = self._drawn()
        padded = np.resize(drawn, self.total_size)  # repeats from the beginning
        self._positions = padded[self.rank :: self.num_replicas].tolist()
        return iter(self._positions)

    def __len__(self) -> int:
        self._find_rank()
        return self.num_samples

    def state_dict(self) -> dict[str, Any]:
        """Losses, epoch and seed: what the draws follow from."""
        return {"losses": self._losses.clone(), "epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw what would have been drawn without the interruption.

        Raises:
            ValueError: the losses are of another dataset, or it is no such state; then nothing is changed.
        """
        checked = checked_state(state)
        self.update_losses(checked["losses"])
        self.epoch, self.seed = checked["epoch"], checked["seed"]

    def _find_rank(self) -> None:
        ranks = dist.is_available() and dist.is_initialized()
        self.num_replicas, self.rank = (dist.get_world_size(), dist.get_rank()) if ranks else (1, 0)
        self.num_samples = math.ceil(self._draws / self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def _drawn(self) -> NDArray[np.int64]:
        generator = np.random.default_rng([self.seed, self.epoch])
        times = _systematic(self.probabilities().numpy(), self._draws, generator.random())
        return generator.permutation(np.repeat(np.arange(len(times)), times))


def checked_state(state: dict[str, Any]) -> dict[str, Any]:
    """A sampler's state.

    Raises:
        ValueError: it is none.
    """
    losses, epoch, seed = (state.get(name) for name in ("losses", "epoch", "seed"))
    if not isinstance(losses, Tensor) or losses.is_meta or not losses.is_floating_point():
        raise ValueError("`state` has no losses, wanted what `state_dict` gave: a tensor (N,) under 'losses'.")
    if not (type(epoch) is type(seed) is int and epoch >= 0 and seed >= 0):
        raise ValueError(f"`state` has epoch {epoch!r} and seed {seed!r}, wanted whole numbers of 0 or more.")
    return state


def _check(size: int, floor: float, num_samples: int | None, seed: int) -> None:
    if size < 1:
        raise ValueError("`dataset` has no samples, wanted at least one. Check what the loader is made of.")
    if not 0 < floor <= 1:
        raise ValueError(f"`floor` is {floor}, wanted above 0 and at most 1. Pass a share of the draws, as 0.3.")
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"`num_samples` is {num_samples}, wanted at least 1. Leave it out for the dataset's length.")
    if seed < 0:
        raise ValueError(f"`seed` is {seed}, wanted 0 or more.")


def _shares(losses: Tensor) -> Tensor:
    """Each position's share of the sum of losses; equal ones where all are 0 or none is known."""
    finite = losses[losses.isfinite()]
    largest = float(finite.max()) if len(finite) else 0.0
    if largest == 0:
        return torch.full_like(losses, 1 / len(losses))
    weights = losses.clamp(max=largest) / largest  # a sum of large ones must not be infinite
    weights = torch.where(weights.isnan(), weights.nanmean(), weights)
    return weights / weights.sum()


def _systematic(probabilities: NDArray[np.float64], draws: int, start: float) -> NDArray[np.int64]:
    """How often each position is drawn: ``draws`` times its probability, rounded down or up, ``draws`` in all.

    What remains beyond whole numbers lies end to end on a line, of which one point in each unit is drawn.
    """
    expected = draws * probabilities
    expected = np.where(np.isclose(expected, np.round(expected), rtol=0, atol=1e-9), np.round(expected), expected)
    whole = np.floor(expected)
    remaining = draws - int(whole.sum())
    ends = np.minimum(np.cumsum(expected - whole), remaining)
    ends[-1] = remaining
    more = np.diff(np.floor(ends + start), prepend=0.0)
    return (whole + more).astype(np.int64)
