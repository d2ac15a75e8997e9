"""Whether a map of importance says what the model does: the model is asked about changed inputs.

A map of importance is ``(K, *spatial)``; ``channel_dim`` is the dimension of inputs ``(K, ...)`` that it lacks, None
where it lacks none: 1 for images ``(K, C, H, W)``, 3 for ``(K, H, W, C)``, 2 for embedded tokens ``(K, T, D)``, None
for features ``(K, F)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_posttrain.core.capture.sending import sent
from lightning_posttrain.saliency.functional.maps import over_channels

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes rows ``(n, ...)`` and the number ``(n,)`` int64 of the sample that each is made of; returns ``(n,)``."""


@torch.no_grad()
def infidelity(
    score: Score,
    inputs: Tensor,
    attribution: Tensor,
    *,
    scale: float = 0.1,
    draws: int = 32,
    chunk: int = 64,
    seed: int = 0,
    normalise: bool = False,
) -> Tensor:
    r"""How far a map is off when it foretells what noise does to the score; 0 is perfect (arXiv:1901.09392).

    The map :math:`\Phi` is read as a gradient, :math:`f(x) - f(x - I) \approx I \cdot \Phi =: \hat\Delta`, and the
    result is :math:`E[(\hat\Delta - \Delta)^2]` over Gaussian :math:`I`, in squares of the score (Yeh et al., 2019).

    A map of contributions, as of input × gradient or Integrated Gradients, is not a gradient: it would first have to
    be divided by :math:`x - b` at every position, which is not defined where input and baseline agree.
    With ``normalise`` maps of any scale compare: the map is multiplied by the best single factor of each sample,
    :math:`\beta = E[\hat\Delta \Delta] / E[\hat\Delta^2]`, and the result is divided by :math:`E[\Delta^2]`: 0 is
    perfect, 1 as good as a map of zeros. The factor may be negative, so a map and its negative rate the same. A
    single factor does not undo :math:`x - b`: contributions to a linear score do not reach 0.

    Args:
        score: what is asked of the model.
        inputs: ``(K, ...)``.
        attribution: the map, of the shape of ``inputs``.
        scale: standard deviation of the noise, over the range of values of each sample.
        draws: how often noise is drawn; the relative error falls as ``1 / sqrt(draws)``.
        chunk: rows that are scored at once, at most; it does not change the noise.
        seed: of the noise, which comes from its own generator on the CPU.
        normalise: divide by what a map of zeros gives, after the best factor.

    Returns:
        ``(K,)``; NaN if normalised where noise never moves the score.

    Example:
        >>> x, w = torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([[3.0, -1.0, 0.5]])
        >>> infidelity(lambda rows, which: rows @ w[0], x, 2 * w, normalise=True).round(decimals=4).tolist()
        [0.0]
    """
    every, sigma = torch.arange(len(inputs), device=inputs.device), scale * _reach(inputs)
    told: list[Tensor] = []
    after: list[Tensor] = []
    at_once = max(1, chunk // max(1, len(inputs)))
    for first in range(0, draws, at_once):
        numbers = range(first, min(first + at_once, draws))
        drawn = (torch.randn(inputs.shape, generator=_generator(seed, n)) for n in numbers)
        shifts = [sigma * _beside(noise, inputs) for noise in drawn]
        # for one draw at a time, so that the sums are added up alike whatever the chunk
        told += [(shift * attribution).flatten(1).sum(dim=1) for shift in shifts]
        after.append(scored(score, torch.cat([inputs - s for s in shifts]), every.repeat(len(shifts)), chunk))
    foretold, seen = torch.stack(told), scored(score, inputs, every, chunk) - torch.cat(after).view(draws, -1)
    return _unexplained(foretold, seen) if normalise else (foretold - seen).square().mean(dim=0)


@torch.no_grad()
def infidelity_of_hiding(
    score: Score,
    inputs: Tensor,
    importance: Tensor,
    *,
    baseline: Tensor,
    channel_dim: int | None,
    draws: int = 32,
    chunk: int = 64,
    seed: int = 0,
) -> Tensor:
    """Share of what hiding does to the score that a map does not foretell; 0 is perfect, 1 as good as no map.

    Each draw hides half of the blocks of a grid, four a side, behind the baseline; the map foretells the sum of its
    values there, times the best single factor of each sample, so that maps of any unit compare (the removal of Yeh et
    al., 2019, arXiv:1901.09392, of random blocks). Contributions to a linear score reach 0.

    Args:
        score: what is asked of the model.
        inputs: ``(K, ...)``.
        importance: ``(K, *spatial)``.
        baseline: what a position holds that is hidden; broadcasts to ``inputs``.
        channel_dim: the dimension of ``inputs`` that ``importance`` lacks, None for none.
        draws: how often blocks are drawn, the same for all samples.
        chunk: rows that are scored at once, at most.
        seed: of the blocks, which come from their own generator on the CPU.

    Returns:
        ``(K,)``; NaN where hiding never moves the score.

    Example:
        >>> x, none = torch.tensor([[1.0, 4.0, 2.0]]), torch.zeros(1)
        >>> infidelity_of_hiding(lambda r, w: r.sum(1), x, x, baseline=none, channel_dim=None).round(decimals=4).item()
        0.0
    """
    spatial = tuple(importance.shape[1:])
    hidden, seen = hiding(
        score, inputs, spatial, baseline=baseline, channel_dim=channel_dim, draws=draws, chunk=chunk, seed=seed
    )
    return unforetold(importance, hidden, seen)


@torch.no_grad()
def hiding(
    score: Score,
    inputs: Tensor,
    spatial: tuple[int, ...],
    *,
    baseline: Tensor,
    channel_dim: int | None,
    draws: int = 32,
    chunk: int = 64,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """What each draw hides ``(draws, *spatial)``, and how much the score loses by it ``(draws, K)``, for any map."""
    hidden = sent(_hidden(spatial, draws, seed), inputs.device)
    baseline, count = baseline.expand_as(inputs), len(inputs)
    numbers = torch.arange((draws + 1) * count, device=inputs.device)
    values = []
    for part in torch.split(numbers, chunk):
        draw, which = part // count, part % count
        mask = over_channels(hidden[draw], channel_dim)
        values.append(score(torch.where(mask, baseline[which], inputs[which]), which))
    found = torch.cat(values).view(draws + 1, count)
    return hidden[1:], found[:1] - found[1:]


def unforetold(importance: Tensor, hidden: Tensor, seen: Tensor) -> Tensor:
    """``infidelity_of_hiding`` of a map, of what ``hiding`` gave."""
    foretold = hidden.flatten(1).to(importance) @ importance.flatten(1).T
    return _unexplained(foretold.to(seen), seen)


def _hidden(spatial: tuple[int, ...], draws: int, seed: int) -> Tensor:
    """What each draw hides ``(draws + 1, *spatial)``, the first nothing; single positions of features."""
    blocks = tuple(min(4, side) for side in spatial) if len(spatial) > 1 else spatial
    drawn = torch.stack([torch.rand(blocks, generator=_generator(seed, n)) < 0.5 for n in range(draws)])
    for dim, side in enumerate(spatial, start=1):
        place = torch.arange(side) * blocks[dim - 1] // side
        drawn = drawn.index_select(dim, place)
    return torch.cat([torch.zeros_like(drawn[:1]), drawn])


def _unexplained(foretold: Tensor, seen: Tensor) -> Tensor:
    """Share ``(K,)`` of the squares of ``seen (draws, K)`` that no multiple of ``foretold`` explains."""
    # brought to a largest value of 1 first, since squares of the gradients of a saturated network underflow
    tiny = torch.finfo(foretold.dtype).tiny
    foretold, seen = foretold / foretold.abs().amax(dim=0).clamp(min=tiny), seen / seen.abs().amax(dim=0)
    # the square of that 1 is in the sum, unless the map is of zeros
    factor = (foretold * seen).sum(dim=0) / foretold.square().sum(dim=0).clamp(min=1)
    return (factor * foretold - seen).square().sum(dim=0) / seen.square().sum(dim=0)


def max_sensitivity(
    explain: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    radius: float = 0.02,
    draws: int = 4,
    seed: int = 0,
) -> Tensor:
    r"""The most that a map changes when its input does a little, over the map's size; 0 is perfectly stable.

    :math:`\max_u \|m(x + u) - m(x)\| / \|m(x)\|` over draws of uniform noise :math:`u`, each value of which is at most
    ``radius`` times the range of the sample's values (Yeh et al., 2019, arXiv:1901.09392). More draws find a larger
    value: compare at the same number. A map that ignores the input is stable too, so read it beside ``infidelity``.

    Args:
        explain: takes inputs ``(K, ...)``, returns maps ``(K, ...)``; called ``draws + 1`` times, as the caller has
            set gradients.
        inputs: ``(K, ...)``.
        radius: the largest change of a value, over the range of values of each sample.
        draws: changed inputs to explain.
        seed: of the noise, which comes from its own generator on the CPU.

    Returns:
        ``(K,)``; NaN for a map of zeros.

    Example:
        >>> max_sensitivity(lambda rows: rows, torch.tensor([[0.0, 1.0]])).item() <= 0.02 * 2**0.5
        True
    """
    # a fresh view each time: some methods mark what they are given as in need of a gradient
    inputs = inputs.detach()
    before = explain(inputs.detach()).detach().flatten(1)
    near = changed_a_little(inputs, radius=radius, draws=draws, seed=seed)
    return relative_change(before, torch.stack([explain(rows).detach().flatten(1) for rows in near]))


def changed_a_little(inputs: Tensor, *, radius: float = 0.02, draws: int = 4, seed: int = 0) -> Tensor:
    """Inputs ``(draws, K, ...)`` near those ``(K, ...)`` that ``max_sensitivity`` compares with."""
    inputs = inputs.detach()
    noise = torch.stack([torch.rand(inputs.shape, generator=_generator(seed, draw)) for draw in range(draws)])
    return inputs + radius * _reach(inputs) * (2 * _beside(noise, inputs) - 1)


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """The largest change of maps ``(K, N)`` among others ``(draws, K, N)``, over their size; NaN for a map of zeros."""
    # in units of the largest value of the map, as squares of tiny gradients underflow
    unit = before.abs().amax(dim=1, keepdim=True)
    worst = ((after - before) / unit).square().sum(dim=2).amax(dim=0)
    return (worst / (before / unit).square().sum(dim=1)).sqrt()


def scored(score: Score, rows: Tensor, which: Tensor, chunk: int) -> Tensor:
    """Scores of rows ``(n,)``, ``chunk`` at a time."""
    return torch.cat([score(*part) for part in zip(torch.split(rows, chunk), torch.split(which, chunk), strict=True)])


def _reach(inputs: Tensor) -> Tensor:
    """The range of values of each sample, to be multiplied with ``inputs``."""
    flat = inputs.flatten(1)
    return (flat.amax(dim=1) - flat.amin(dim=1)).view(-1, *[1] * (inputs.dim() - 1))


def _beside(values: Tensor, inputs: Tensor) -> Tensor:
    """Where inputs are and in their precision, without a wait for what runs there."""
    return sent(values.to(inputs.dtype), inputs.device)


def _generator(seed: int, draw: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 65536 + draw)
