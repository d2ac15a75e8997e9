"""What a map of importance tells by itself: where it looks, how spread out it is, and what it resembles.

A map is ``(K, *spatial)``: one value for each position of each of ``K`` samples, and no dimension of channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.core.capture.sending import sent


@torch.no_grad()
def order(importance: Tensor) -> Tensor:
    """The positions ``(K, N)`` int64 of a map ``(K, *spatial)`` flattened, from the most important to the least.

    The largest value is the most important. Equal ones come in a shuffled order that is always the same, as the order
    of the raster would favour the top of a picture.

    Example:
        >>> order(torch.tensor([[0.1, 0.7, -0.2]])).tolist()
        [[1, 0, 2]]
    """
    shuffled = _shuffled(importance)
    return shuffled[importance.flatten(1)[:, shuffled].argsort(dim=1, descending=True, stable=True)]


@torch.no_grad()
def pointing_game(importance: Tensor, mask: Tensor, *, tolerance: float = 0) -> Tensor:
    """Whether the most important position lies in the mask, or at most ``tolerance`` positions away from it.

    Its mean over samples is the accuracy of the pointing game; a map by chance hits as often as the mask is large
    (Zhang et al., 2016, arXiv:1608.00507, with a tolerance of 15 pixels). An empty mask is never hit.

    Args:
        importance: ``(K, *spatial)``; the largest value is the most important.
        mask: the object, of the same shape, bool.
        tolerance: a distance in positions, straight across the picture.

    Returns:
        ``(K,)`` bool.

    Example:
        >>> pointing_game(torch.tensor([[0.1, 0.7, 0.2]]), torch.tensor([[True, False, False]]), tolerance=1).tolist()
        [True]
    """
    shuffled = _shuffled(importance)
    peak = shuffled[importance.flatten(1)[:, shuffled].argmax(dim=1)]
    sides = [torch.arange(side, device=importance.device) for side in importance.shape[1:]]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij")).flatten(1)
    distance = (places[:, None] - places[:, peak, None]).square().sum(dim=0)
    return ((distance <= tolerance**2) & mask.flatten(1)).any(dim=1)


@torch.no_grad()
def energy_share(importance: Tensor, mask: Tensor) -> Tensor:
    """Share of the positive importance that lies in the mask, 0 to 1; chance gives the mask's share of the area.

    The energy-based pointing game (Wang et al., 2020, arXiv:1910.01279). NaN where nothing is positive.

    Args:
        importance: ``(K, *spatial)``.
        mask: the object, of the same shape, bool.

    Returns:
        ``(K,)``.

    Example:
        >>> energy_share(torch.tensor([[3.0, 1.0, -5.0]]), torch.tensor([[True, False, True]])).tolist()
        [0.75]
    """
    return _share(_wide(importance).clamp(min=0), mask)


@torch.no_grad()
def share_over_area(importance: Tensor, mask: Tensor) -> Tensor:
    """Share of the absolute importance in the mask over the mask's share of the area: 1 is as much as by chance.

    At most one over the mask's share of the area; NaN for a map of zeros and for an empty mask.

    Args:
        importance: ``(K, *spatial)``.
        mask: ``(*spatial)`` for all samples, as of ``border``, or ``(K, *spatial)``; bool.

    Returns:
        ``(K,)``.

    Example:
        >>> share_over_area(torch.tensor([[2.0, 1.0, 1.0, -4.0]]), torch.tensor([True, False, False, True])).tolist()
        [1.5]
    """
    mask = mask.to(importance.device).expand_as(importance)
    return _share(_wide(importance).abs(), mask) / mask.flatten(1).float().mean(dim=1)


@torch.no_grad()
def entropy(importance: Tensor) -> Tensor:
    r"""How spread out a map is: 0 if all lies on one position, 1 if every position counts the same.

    With :math:`p_i = |a_i| / \sum_j |a_j|` over :math:`N` positions, :math:`-\sum_i p_i \ln p_i / \ln N`
    (the complexity of Bhatt et al., 2020, arXiv:2005.00631, over its maximum). NaN for a map of zeros.

    Args:
        importance: ``(K, *spatial)``.

    Returns:
        ``(K,)``.

    Example:
        >>> entropy(torch.tensor([[0.0, 3.0, 0.0, 0.0], [1.0, -1.0, 1.0, -1.0]])).tolist()
        [0.0, 1.0]
    """
    size = _wide(importance).flatten(1).abs()
    shares = size / size.sum(dim=1, keepdim=True)
    spread: Tensor = torch.special.entr(shares).sum(dim=1)
    return spread / math.log(shares.shape[1])


@torch.no_grad()
def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps: 1 for the same order of positions, 0 for unrelated ones, -1 reversed.

    Equal values share the mean of their ranks, as in SciPy. NaN where a map is constant. Of maps from a trained and a
    randomised network, a value near 1 says that the map shows the picture and not the model (Adebayo et al., 2018,
    arXiv:1810.03292).

    Args:
        a: ``(K, *spatial)``.
        b: of the same shape.

    Returns:
        ``(K,)``.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 9.0]])).tolist()
        [1.0]
    """
    a, b = _ranks(a), _ranks(b)
    within, of_a, of_b = ((x * y).sum(dim=1) for x, y in ((a, b), (a, a), (b, b)))
    return within / (of_a * of_b).sqrt()


@torch.no_grad()
def edges(images: Tensor) -> Tensor:
    """The strength of the edges ``(K, H, W)`` in images ``(K, H, W, C)``: a map that knows no model, to compare with.

    The length of Sobel's gradient of the mean over channels; beyond the picture its outermost pixels are repeated.

    Example:
        >>> edges(torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(3, 4).reshape(1, 3, 4, 1))[0, 1].tolist()
        [0.0, 4.0, 4.0, 0.0]
    """
    gray = F.pad(_wide(images).mean(dim=3).unsqueeze(1), (1, 1, 1, 1), mode="replicate")[:, 0]
    across, down = gray[:, :, 2:] - gray[:, :, :-2], gray[:, 2:] - gray[:, :-2]
    across = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    down = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    return torch.hypot(across, down)


def border(shape: Sequence[int], share: float = 0.1) -> Tensor:
    """The frame of a picture, a ``share`` of each side wide and at least one position; of a series, its two ends.

    Bool, of ``shape``: ``(H, W)`` of a map, or ``(T,)``.

    Example:
        >>> border((3, 4)).int().tolist()
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    return torch.stack(_ends(shape, share)).any(dim=0)


def corners(shape: Sequence[int], share: float = 0.15) -> Tensor | None:
    """The four corners of a picture, each a ``share`` of the sides and at least one position; None for a series.

    Example:
        >>> corners((3, 4)).int().tolist()
        [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
    """
    return torch.stack(_ends(shape, share)).all(dim=0) if len(shape) > 1 else None


@torch.no_grad()
def blurred(inputs: Tensor, mask: Tensor, channel_dim: int | None) -> Tensor:
    """Inputs whose masked region is strongly blurred, which leaves of a marker there no more than a tint.

    A position becomes the mean of all up to a quarter of the side away, along each dimension of the map; the picture
    is reflected at its border. Of a series it is the moving average.

    Args:
        inputs: ``(K, ...)``, floating.
        mask: ``(*spatial)`` for all samples, as of ``corners``, or ``(K, *spatial)``; bool.
        channel_dim: the dimension of ``inputs`` that the mask lacks, None for none.
    """
    channel = None if channel_dim is None else channel_dim % inputs.dim()
    spatial = [dim for dim in range(1, inputs.dim()) if dim != channel]
    smooth = inputs
    for dim in spatial:
        smooth = _moving_average(smooth, dim)
    mask = mask.to(inputs.device).expand(len(inputs), *(inputs.shape[dim] for dim in spatial))
    return torch.where(over_channels(mask, channel_dim), smooth, inputs)


def over_channels(importance: Tensor, channel_dim: int | None) -> Tensor:
    """A map ``(K, *spatial)`` with the dimension that inputs have and it lacks, of size one."""
    return importance if channel_dim is None else importance.unsqueeze(channel_dim)


def _moving_average(inputs: Tensor, dim: int) -> Tensor:
    last = inputs.movedim(dim, -1)
    side = last.shape[-1]
    # reflection needs less than the side; a short one is still blurred
    reach = min(max(side // 4, 1), side - 1)
    padded = F.pad(last.reshape(-1, 1, side), (reach, reach), mode="reflect")
    return F.avg_pool1d(padded, 2 * reach + 1, stride=1).view(last.shape).movedim(-1, dim)


def _ends(shape: Sequence[int], share: float) -> tuple[Tensor, ...]:
    """For each side, a bool of ``shape``: whether a position lies at either end of that side."""
    each = []
    for side in shape:
        position, width = torch.arange(side), max(1, round(share * side))
        each.append((position < width) | (position >= side - width))
    return torch.meshgrid(*each, indexing="ij")


def _ranks(values: Tensor) -> Tensor:
    """Mid-ranks ``(K, N)``, centred and over ``N``, so that their squares can be summed in float32."""
    flat = _wide(values).flatten(1).contiguous()
    ordered = flat.sort(dim=1).values
    below, through = torch.searchsorted(ordered, flat), torch.searchsorted(ordered, flat, right=True)
    return ((below + through - flat.shape[1]) / (2 * flat.shape[1])).to(flat.dtype)


def _share(weights: Tensor, mask: Tensor) -> Tensor:
    return (weights * mask).flatten(1).sum(dim=1) / weights.flatten(1).sum(dim=1)


def _shuffled(importance: Tensor) -> Tensor:
    positions = math.prod(importance.shape[1:])
    return sent(torch.randperm(positions, generator=torch.Generator().manual_seed(0)), importance.device)


def _wide(values: Tensor) -> Tensor:
    """At least float32, as half precision cannot hold the sum of a map."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
