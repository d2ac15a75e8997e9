"""How far predicted probabilities are from the frequencies of what they speak of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.calibration.functional.passes import split_both
from lightning_posttrain.calibration.functional.tallies import Entries, Sums, Tally, joined, tally
from lightning_posttrain.calibration.result import PARTS, CalibrationFigures
from lightning_posttrain.classification import bin_of_probability
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS

_ROUNDING = 1e-5


class Piece(NamedTuple):
    """Some rows.

    Args:
        probabilities: of the classes ``(n, C)``, of a binary task ``(n, 2)``, of labels ``(n, L)``; float64.
        target: class ``(n,)``; for labels 0 or 1 ``(n, L)``, and -1 where one is not to be counted.
        losses: minus the log of the probability of what came true ``(n, 1)`` or ``(n, L)``; NaN where not counted.
    """

    probabilities: Tensor
    target: Tensor
    losses: Tensor


def calibration_figures(
    probabilities: Tensor,
    target: Tensor,
    *,
    bins: int = 15,
    binary: bool = False,
    multilabel: bool = False,
    ignored: Sequence[int] = (),
) -> CalibrationFigures:
    r"""Calibration errors, Brier score with its parts, log loss, and the bins of a reliability diagram.

    A calibration error of 0.05 says that confidence and accuracy are 5 points apart, on average over the rows. With
    :math:`n_b` of :math:`N` decisions in bin :math:`b`, their mean confidence :math:`c_b` and accuracy :math:`a_b`,

    .. math::
        ECE = \sum_b \frac{n_b}{N} |a_b - c_b|, \quad MCE = \max_b |a_b - c_b|, \quad
        ACE = \frac{1}{R} \sum_r |a_r - c_r|

    A decision is the predicted class of a row, its confidence the probability of that class (Guo et al., 2017,
    arXiv:1706.04599); of a binary task, whether a row is of class 1, and the probability of class 1; of a multilabel
    task, whether a label is there, all labels together. The bins ``((b - 1) / B, b / B]`` have equal widths; for ACE
    (Nixon et al., 2019, arXiv:1904.01685, there for every class) the decisions are put in the order of confidence and
    cut into ``B`` ranges of equally many, so that it does not hang on bins with few rows. Where equal confidences lie
    on both sides of a cut, each counts their mean accuracy, so that the order of the rows has no say. ``classwise_ece``
    is the mean over classes, or labels, of the ECE of their probability (Kull et al., 2019, arXiv:1910.12656).

    The Brier score is summed over the classes of a multiclass task, of two classes that of one, as in scikit-learn, and
    the mean of those of the labels in a multilabel one. For each it is, exactly, reliability - resolution +
    uncertainty + within (Stephenson, Coelho and Jolliffe, 2008, doi:10.1175/2007WAF2006116.1), over the same bins:

    .. math::
        \sum_b \frac{n_b}{N} (c_b - a_b)^2 - \sum_b \frac{n_b}{N} (a_b - a)^2 + a (1 - a) +
        \frac{1}{N} \sum_b \sum_{i \in b} (p_i - c_b)^2 - 2 (p_i - c_b) (o_i - a_b)

    Args:
        probabilities: of the classes ``(N, C)``, of a binary task ``(N, 2)``, of labels ``(N, L)``.
        target: class ``(N,)``; for labels 0 or 1 ``(N, L)``, and -1 where one is not to be counted.
        bins: how many.
        binary: whether class 1 alone is spoken of.
        multilabel: whether the columns are labels.
        ignored: classes without rows on purpose, which are not in ``classwise_ece``.

    Raises:
        ValueError: shapes that do not fit, or values that are no probabilities.

    Example:
        >>> figures = calibration_figures(torch.tensor([[0.9, 0.1], [0.7, 0.3]]).double(), torch.tensor([0, 1]))
        >>> round(figures.ece, 4), round(figures.brier, 4)
        (0.4, 0.25)
    """
    _check(probabilities, target, bins, binary=binary, multilabel=multilabel)
    pieces = (
        Piece(some.double(), own, _losses(some.double(), own, multilabel=multilabel))
        for some, own in split_both(probabilities, target)
    )
    classes = probabilities.shape[1]
    return figures_of_pieces(pieces, classes, bins=bins, binary=binary, multilabel=multilabel, ignored=ignored)


def figures_of_pieces(
    pieces: Iterable[Piece],
    classes: int,
    *,
    bins: int = 15,
    binary: bool = False,
    multilabel: bool = False,
    ignored: Sequence[int] = (),
) -> CalibrationFigures:
    """The same of rows that come some at a time, which a processor's cache holds.

    Args:
        pieces: rows, at least one piece.
        classes: ``C``, or ``L``.
        bins: how many.
        binary: whether class 1 alone is spoken of.
        multilabel: whether the columns are labels.
        ignored: classes without rows on purpose, which are not in ``classwise_ece``.
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    labels = binary or multilabel
    sums = None
    for piece in pieces:
        said, target = piece.probabilities, piece.target
        sums = sums or Sums(1 if binary else classes, edges, labels=labels, device=said.device)
        sums.add(said[:, 1:] if binary else said, target[:, None] if binary else target)
        sums.losses.append(piece.losses)
    assert sums is not None
    each, entries = sums.tallies(), Entries(*joined(sums.decisions))
    pooled = tally(entries, bin_of_probability(entries.said, bins), bins)
    confidence, accuracy = pooled.said / pooled.rows, pooled.true / pooled.rows
    gaps = (confidence - accuracy).abs().nan_to_num(0.0)
    parts = _brier(each)
    # of two classes that exclude each other one says all, as in scikit-learn
    whole = parts.nanmean(dim=1) if labels or len(parts.T) == 2 else parts.sum(dim=1)
    return CalibrationFigures(
        ece=float(pooled.distance.sum() / pooled.rows.sum()),
        ace=_adaptive(entries, bins),
        classwise_ece=_classwise(each, () if binary else ignored),
        mce=float(gaps.max()) if len(entries.said) else math.nan,
        **dict(zip(("brier", *PARTS), whole.tolist(), strict=True)),
        log_loss=float(torch.cat(sums.losses).nanmean(dim=0).nanmean()),
        edges=edges,
        rows=pooled.rows.long(),
        confidence=confidence,
        accuracy=accuracy,
    )


def _check(probabilities: Tensor, target: Tensor, bins: int, *, binary: bool, multilabel: bool) -> None:
    if binary and multilabel:
        raise ValueError("`binary` and `multilabel` are both True, wanted one at most. Labels are multilabel alone.")
    if bins < 1:
        raise ValueError(f"`bins` is {bins}, wanted 1 at least. 15 is usual.")
    shape, wanted = tuple(probabilities.shape), "(N, L)" if multilabel else "(N, 2)" if binary else "(N, C)"
    if len(shape) != 2 or (binary and shape[1] != 2) or shape[1] == 0:
        raise ValueError(f"`probabilities` has shape {shape}, wanted {wanted}. Flatten further dimensions into rows.")
    if tuple(target.shape) != (shape if multilabel else shape[:1]):
        fits = shape if multilabel else shape[:1]
        raise ValueError(f"`target` has shape {tuple(target.shape)}, wanted {fits} for probabilities {shape}.")
    if len(probabilities):
        low, high = (float(end) for end in probabilities.aminmax())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ValueError(f"`probabilities` holds {low:.3g} to {high:.3g}, wanted 0 to 1. Apply softmax or sigmoid.")


def _adaptive(entries: Entries, bins: int) -> float:
    """The mean, over ranges of equally many entries in the order of confidence, of the distance to accuracy."""
    rows = len(entries.said)
    ordered, order = entries.said.sort()
    same = torch.searchsorted(ordered, ordered)
    shared = torch.bincount(same, entries.true[order].double()) / torch.bincount(same)
    ranges = torch.arange(rows) * bins // max(rows, 1)
    apart = torch.bincount(ranges, ordered - shared[same], minlength=bins).abs()
    filled = torch.bincount(ranges, minlength=bins)
    return float((apart / filled).nanmean())


def _classwise(each: Tally, ignored: Sequence[int]) -> float:
    shares = each.distance.sum(dim=1) / each.rows.sum(dim=1)
    return float(shares.index_fill(0, torch.tensor(ignored, dtype=torch.int64), torch.nan).nanmean())


def _brier(each: Tally) -> Tensor:
    """Brier score, reliability, resolution, uncertainty and the rest ``(5, K)`` of each column."""
    rows, said, squares, true, said_of_true = each
    number, held = rows.sum(dim=1), rows.clamp(min=1)
    frequency = true.sum(dim=1) / number
    score = squares.sum(dim=1) - 2 * said_of_true.sum(dim=1) + true.sum(dim=1)
    reliability = ((said - true).square() / held).sum(dim=1)
    resolution = ((true - rows * frequency[:, None]).square() / held).sum(dim=1)
    spread = squares - said.square() / held
    together = said_of_true - said * true / held
    within = (spread - 2 * together).sum(dim=1)
    summed = torch.stack([score, reliability, resolution, number * frequency * (1 - frequency), within])
    return summed / number


def _losses(said: Tensor, target: Tensor, *, multilabel: bool) -> Tensor:
    """Minus the log of the probability of what came true, ``(n, 1)``, of labels ``(n, L)``; NaN where not counted."""
    if not multilabel:
        return _loss(said.gather(1, target[:, None]))
    return _loss(torch.where(target == 1, said, 1 - said)).where(target >= 0, torch.nan)


def _loss(own: Tensor) -> Tensor:
    return torch.where(own > 0, -own.clamp(max=1).log(), LARGEST_LOSS)
