r"""The score axis, and histograms over it whose bins adapt to the scores.

A probability :math:`p` stands at :math:`f = \log p` up to one half and at :math:`f = -2 \log 2 - \log(1 - p)` above:
probabilities so near 0 or 1 that a float has no other are told apart. The log-odds of a label stand as they are.

Each class has a centre :math:`c` and a scale :math:`s` of its own. Of ``T`` bins, :math:`f` is in number
:math:`\lfloor \frac{T}{2} (1 + \frac{u}{1 + |u|}) \rfloor` with :math:`u = (f - c) / s`: every value has a bin, and
half of the bins are for values within one scale of the centre.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_posttrain.core.statistics.precision import wide
from lightning_posttrain.core.stream.stage_sizes import stage_sizes

_HALF = -2 * math.log(2)
FAR = 1e15
"""Distances from the centre, in scales, beyond which none is told from another."""
PLACES = (-0.01, 0.5, 1.01)
"""Where a score may stand in its bin: at the lowest, in the middle, at the highest; rounding may have moved an edge."""
TOGETHER = 1 << 15
"""Bins of all classes together."""
FITTED = 1 << 17
"""Scores from which an axis is fitted at most, but 128 rows at least."""


def bins_for(num_classes: int) -> int:
    """How many bins each class gets: 8,192 where classes are few, down to 512; a million in all, in 16 MiB."""
    return min(8192, max(512, 1 << ((1 << 20) // num_classes).bit_length() - 1))


def bins_of_curves(num_classes: int) -> int:
    """How many bins a drawn curve has: 4,096 where classes are few, down to 512."""
    return min(4096, max(512, bins_for(num_classes) // 2))


def on_axis(scores: Tensor, *, multilabel: bool) -> Tensor:
    """Where scores ``(N, C)`` stand on the axis, by class ``(C, N)``, float64; anything in rows that do not count."""
    columns = wide(scores).t().contiguous()
    if multilabel:
        return columns
    top, predicted = columns.max(dim=0)
    # without the largest, for near a probability of one what remains is all that is known
    others = columns.scatter(0, predicted[None], -torch.inf)
    second = others.amax(dim=0).clamp(min=torch.finfo(others.dtype).min)
    log_total, largest = _of_largest(second - top + _sum_in_any_order(others.sub_(second).exp_()).log())
    return (columns - top).sub_(log_total).scatter_(0, predicted[None], largest[None])


def _of_largest(log_others: Tensor) -> tuple[Tensor, Tensor]:
    """The log of the sum of all, and the place of the largest, from the log of the sum of the others beside it."""
    log_total = torch.log1p(log_others.exp())
    return log_total, torch.where(log_others < 0, log_total - log_others + _HALF, -log_total)


def _sum_in_any_order(shares: Tensor) -> Tensor:
    """Sum over the first dimension of numbers up to 1, rounded so that no order of them changes it: ties stay ties."""
    unit = torch.finfo(shares.dtype).eps * (1 << len(shares).bit_length())
    return shares.mul_(1 / unit).round_().sum(dim=0).mul_(unit)  # the unit is a power of two


def all_on_axis(scores: Tensor, *, multilabel: bool) -> Tensor:
    """The same of many rows, a few at a time."""
    places = wide(scores[:0]).new_empty(scores.shape[1], len(scores))
    for rows in _pieces(scores):
        places[:, rows] = on_axis(scores[rows], multilabel=multilabel)
    return places


def _pieces(scores: Tensor) -> list[slice]:
    step = max(1, stage_sizes(scores.device).chunk // scores.shape[1])
    return [slice(first, first + step) for first in range(0, len(scores), step)]


def probability_on_axis(places: Tensor, *, multilabel: bool) -> Tensor:
    """The probability that stands at places on the axis.

    Example:
        >>> places = on_axis(torch.tensor([[0.0, 9.0]]), multilabel=False)
        >>> [round(p, 9) for p in probability_on_axis(places, multilabel=False).flatten().tolist()]
        [0.000123395, 0.999876605]
    """
    if multilabel:
        return places.sigmoid()
    return torch.where(places <= -math.log(2), places.exp(), 1 - (_HALF - places).exp())


def fitted_axis(places: Tensor, marks: Tensor) -> Tensor:
    """Centre and scale of each class ``(C, 2)`` float32, from a sample of rows.

    The centre is the 90 % quantile, where positives and negatives meet, and the scale its distance to the 10 %
    quantile, or that of the largest to the smallest where these two are equal.

    Args:
        places: ``(C, N)``.
        marks: 0 where not counted ``(N, 1)`` or ``(N, C)``.
    """
    if not places.shape[1]:
        return places.new_tensor([[0.0, 1.0]], dtype=torch.float32).repeat(len(places), 1)
    known = places.isfinite() & (marks > 0).t()
    ranked = places.masked_fill(~known, torch.inf).sort(dim=1).values
    last = known.sum(dim=1, keepdim=True) - 1
    least, low, high, most = (
        ranked.gather(1, (share * last).long().clamp(min=0))[:, 0] for share in (0.0, 0.1, 0.9, 1.0)
    )
    spread = torch.where(high > low, high - low, most - least)
    empty = last[:, 0] < 0
    centre = high.masked_fill(empty, 0.0)
    return torch.stack([centre, spread.masked_fill(empty | (spread == 0), 1.0).clamp(1e-30, 1e30)], dim=1).float()


def fitted_step(rows: int, num_classes: int) -> int:
    """Every how many rows one is looked at to fit an axis, at least 1."""
    return max(1, -(-rows // max(128, FITTED // num_classes)))


def common_axis(axis: Tensor) -> Tensor:
    """One centre and scale ``(1, 2)`` for all classes together, from those of each ``(C, 2)``."""
    lowest, highest = (axis[:, 0] - axis[:, 1]).quantile(0.1), axis[:, 0].quantile(0.9)
    return torch.stack([highest, (highest - lowest).clamp(min=1e-30)])[None]


def bin_of(places: Tensor, axis: Tensor, bins: int) -> Tensor:
    """Bin, int32, of places.

    Args:
        places: ``(C, N)``.
        axis: centre and scale ``(C, 2)``, or ``(1, 2)``.
        bins: ``T``.
    """
    centre, scale = axis.to(places.dtype)[:, :, None].unbind(1)
    return _bin_of_distance((places - centre).div_(scale), bins)


def all_bins(places: Tensor, axis: Tensor, bins: int) -> Tensor:
    """The same of many places, some classes at a time."""
    found = torch.empty(places.shape, dtype=torch.int32, device=places.device)
    for some in _pieces(places) if places.shape[1] else ():
        found[some] = bin_of(places[some], axis[some] if len(axis) > 1 else axis, bins)
    return found


def _bin_of_distance(u: Tensor, bins: int) -> Tensor:
    """Bin, int32, of distances from the centre in scales, which are changed; a NaN is in some bin."""
    u.clamp_(-FAR, FAR)
    return u.div_(u.abs().add_(1)).add_(1).mul_(bins / 2).int().clamp_(0, bins - 1)


def bins_of_rows(scores: Tensor, axis: Tensor, bins: int, *, multilabel: bool) -> Tensor:
    """Bin ``(C, N)``, int16, of scores ``(N, C)``, a few rows at a time; arguments as of ``bin_of``."""
    found = torch.empty(scores.shape[1], len(scores), dtype=torch.int16, device=scores.device)
    for rows in _pieces(scores):
        found[:, rows] = bin_of_scores(scores[rows], axis, bins, multilabel=multilabel)
    return found


def bin_of_scores(scores: Tensor, axis: Tensor, bins: int, *, multilabel: bool) -> Tensor:
    """Bin ``(C, N)``, int32, of scores ``(N, C)``, in their own precision.

    As ``bin_of`` of ``on_axis``, but for rounding: no number is formed that is large beside the spread of the scores,
    and two are taken in the wrong order only if less than about a millionth of that lies between them.
    """
    columns = scores.t().contiguous()
    if multilabel:
        return bin_of(columns, axis, bins)
    top, predicted = columns.max(dim=0)
    others = columns.scatter(0, predicted[None], -torch.inf)
    second = others.amax(dim=0).clamp(min=torch.finfo(others.dtype).min)
    shares = others.sub_(second).expm1_().sum(dim=0, dtype=wide(second).dtype) + len(columns)
    log_total, largest = _of_largest(wide(second) - wide(top) + shares.log())
    centre, scale = wide(axis).unbind(1)
    middle = centre.median()
    aside, scale = (values.to(scores.dtype)[:, None] for values in (centre - middle, scale))
    u = (columns - top).sub_((log_total + middle).to(scores.dtype)).sub_(aside)
    own = (largest - centre.index_select(0, predicted)).to(scores.dtype)
    return _bin_of_distance(u.scatter_(0, predicted[None], own[None]).div_(scale), bins)


def edge_at(position: Tensor, axis: Tensor, bins: int) -> Tensor:
    """The place, float64, at positions between 0 and ``bins``; infinite at both.

    Args:
        position: ``(..., C)``.
        axis: centre and scale ``(C, 2)``.
        bins: ``T``.
    """
    t = (2 * position.double() / bins - 1).clamp(-1, 1)
    centre, scale = axis.double().unbind(1)
    return centre + scale * (t / (1 - t.abs()))


def no_counts(num_classes: int, bins: int, device: torch.device | None = None) -> Tensor:
    """Counts ``(2, C, T + 1)`` of nothing: of all rows and of positives; the last bin is for what does not count."""
    return torch.zeros(2, num_classes, bins + 1, dtype=torch.int64, device=device)


def count_cells(counts: Tensor, place: Tensor, marks: Tensor) -> None:
    """Add scores to counts.

    Args:
        counts: as ``no_counts`` gives, of each class or of all together; changed.
        place: bins ``(C, N)``; changed where they are int32.
        marks: one more than the class ``(N, 1)``, or than 0 or 1 for each label ``(N, C)``; 0 where not counted.
    """
    groups, width = counts.shape[1:]
    cells = place.int().masked_fill_((marks == 0).t(), width - 1)
    if groups > 1:
        cells += torch.arange(groups, dtype=torch.int32, device=cells.device)[:, None] * width
    if marks.shape[1] == len(place):
        own = cells.masked_fill((marks != 2).t(), width - 1).reshape(-1)
    else:
        own = cells.gather(0, (marks.t() - 1).clamp(min=0))[0]
    for side, found in zip(counts.view(2, -1), (cells.reshape(-1), own), strict=True):
        side.index_add_(0, found, torch.ones(1, dtype=torch.int64, device=found.device).expand(len(found)))
