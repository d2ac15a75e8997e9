"""Soups: one set of weights that is the average of several members' (Wortsman et al., 2022, arXiv:2203.05482)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

State: TypeAlias = Mapping[str, Tensor]

LEAP = 1.1
"""How many times members' mean log loss that of the average of all may be, before no soup is tried."""


class Soup(NamedTuple):
    """Averaged weights, the positions of the members that are in them, and what each average was worth.

    ``loss`` is the validation log loss of the soup, ``tried`` that of each candidate in the order in which they came.
    """

    state: dict[str, Tensor]
    kept: tuple[int, ...]
    loss: float
    tried: tuple[float, ...]


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of members' parameters and buffers, in float64, in the type that each had.

    Integers, such as counts of batches and positions, are those of the first member, and so are the two vectors of a
    spectral norm. Running statistics of a BatchNorm are averaged; compute those of the averaged weights anew where that
    lowers the loss.

    Args:
        states: parameters and buffers by name, of members that began from the same weights.

    Raises:
        ValueError: no member, or one with other names or shapes.

    Example:
        >>> average([{"weight": torch.tensor([1.0, 2.0])}, {"weight": torch.tensor([3.0, 2.0])}])
        {'weight': tensor([2., 2.])}
    """
    if not states:
        raise ValueError("`states` is empty, wanted one member at least.")
    for number, state in enumerate(states):
        _check_alike(states[0], state, number)
    return {
        name: value.detach().clone() if _of_first(name, states[0]) else _mean([state[name] for state in states])
        for name, value in states[0].items()
    }


def greedy_soup(states: Sequence[State], judge: Callable[[dict[str, Tensor]], float]) -> Soup:
    """Add one member after another to the average, and keep it where that lowers the validation log loss.

    Never worse than the first member on what ``judge`` looks at, so that it is the test of whether an average helps.
    An average is less sure than its members. Where these are too sure, that alone lowers the log loss: judge it behind
    a temperature that is fitted to each candidate.

    Args:
        states: as ``average`` takes them, the best by validation first.
        judge: from an averaged state to its validation log loss; lower is better, NaN is worse than any number.

    Raises:
        ValueError: as ``average``.

    Example:
        >>> states = [{"weight": torch.tensor([value])} for value in (1.0, -3.0, -1.0)]
        >>> soup = greedy_soup(states, lambda state: float(state["weight"].abs()))
        >>> soup.kept, soup.loss, soup.tried
        ((0, 2), 0.0, (1.0, 1.0, 0.0))
    """
    kept: list[int] = []
    best, least, tried = average(states[:1]), math.inf, []
    for number in range(len(states)):
        candidate = average([states[one] for one in (*kept, number)])
        tried.append(judge(candidate))
        if not kept or tried[-1] < least:
            kept.append(number)
            best, least = candidate, math.inf if math.isnan(tried[-1]) else tried[-1]
    return Soup(best, tuple(kept), least, tuple(tried))


def soup_alarm(uniform: float, losses: Sequence[float]) -> str:
    """Why no soup should be tried, by the validation log loss of the average of all members; empty where it should.

    Where weights lie in one basin, the loss of their average is about their mean loss at most. Weights of members that
    began from different ones do not, and it leaps.

    Args:
        uniform: validation log loss of the average of all members.
        losses: those of the members themselves.

    Example:
        >>> print(soup_alarm(1.6, [0.66, 0.7]))
        no soup: the average of all weights has log loss 1.6, members 0.68 on average; of different seeds there is none
        >>> soup_alarm(0.65, [0.66, 0.7])
        ''
    """
    mean = sum(losses) / len(losses)
    if uniform <= LEAP * mean:
        return ""
    return (
        f"no soup: the average of all weights has log loss {uniform:.4g}, members {mean:.4g} on average; of "
        "different seeds there is none"
    )


def _of_first(name: str, state: State) -> bool:
    """Whether an average means nothing: of whole numbers, and of the vectors that a spectral norm is found by."""
    if not state[name].is_floating_point() and not state[name].is_complex():
        return True
    stem = name.removesuffix("_u").removesuffix("_v")
    ends = name.rpartition(".")[2] in ("_u", "_v") and "parametrizations." in name
    return ends or (stem != name and f"{stem}_orig" in state)


def _mean(values: Sequence[Tensor]) -> Tensor:
    first = values[0]
    wide = torch.complex128 if first.is_complex() else torch.float64
    total = torch.zeros_like(first, dtype=wide, device="cpu")
    for value in values:
        total += value.detach().to("cpu", wide)
    return (total / len(values)).to(first.dtype).to(first.device)


def _check_alike(first: State, other: State, number: int) -> None:
    missing = sorted(first.keys() ^ other.keys())
    if missing:
        raise ValueError(
            f"`states` has {missing[0]!r} in one of members 1 and {number + 1} alone, wanted the same names in all. "
            "Average checkpoints of one network."
        )
    for name, value in first.items():
        if value.shape != other[name].shape:
            raise ValueError(
                f"`states` has {name!r} of shape {tuple(value.shape)} in member 1 and {tuple(other[name].shape)} in "
                f"member {number + 1}, wanted one shape. Average checkpoints of one network."
            )
