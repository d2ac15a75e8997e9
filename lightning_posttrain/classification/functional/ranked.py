"""What follows from the order of scores: exactly from rows, within bounds from histograms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.exact import exact_areas, exact_areas_together
from lightning_posttrain.classification.functional.histograms import (
    PLACES,
    TOGETHER,
    all_on_axis,
    bin_of,
    bins_of_curves,
    bins_of_rows,
    common_axis,
    count_cells,
    edge_at,
    fitted_axis,
    fitted_step,
    moved,
    no_counts,
    probability_on_axis,
)
from lightning_posttrain.classification.functional.ranking import Ends, areas
from lightning_posttrain.classification.result.scores import Bounded, RankedScores, ScoreCounts

MOST_CLASSES = 4096
"""With more classes there are no histograms: they would take hundreds of megabytes."""
EXACT_TOGETHER = 1 << 22
"""Scores of which the areas of all classes together are exact: a sort of them takes 0.1 s."""


def ranked_rows(scores: Tensor, marks: Tensor, *, multilabel: bool, ignored: Sequence[int] = ()) -> RankedScores:
    """From all rows.

    Args:
        scores: logits ``(N, C)``, for multilabel log-odds.
        marks: one more than the class ``(N, 1)``, or than 0 or 1 for each label ``(N, C)``; 0 where not counted.
        multilabel: whether each row has any number of labels.
        ignored: classes that are left out of what is said of all together.
    """
    classes = scores.shape[1]
    places = all_on_axis(scores, multilabel=multilabel)
    auroc, precision = exact_areas(places, marks)
    kept = _without(places, marks, ignored)
    micro = exact_areas_together(*kept) if places.numel() <= EXACT_TOGETHER else None
    if classes > MOST_CLASSES:
        return without_curves(classes, auroc, precision, micro)
    step = fitted_step(len(scores), classes)
    axis = fitted_axis(places[:, ::step], marks[::step])
    onto = common_axis(axis[[k for k in range(classes) if k not in ignored]])
    counts, together = no_counts(classes, bins_of_curves(classes)), no_counts(1, TOGETHER)
    for part, own, (where, of) in ((counts, axis, (places, marks)), (together, onto, kept)):
        count_cells(part, bin_of(where, own, part.shape[2] - 1), of)
    counts, together = counts[..., :-1], together[..., :-1]
    each, whole = (_curves(part, own, multilabel=multilabel) for part, own in ((counts, axis), (together, onto)))
    return RankedScores(auroc, precision, micro or areas(*sides(together)), each, whole, tuple(ignored))


def ranked_counts(
    tables: Tensor, axis: Tensor, scores: Tensor, marks: Tensor, *, multilabel: bool, ignored: Sequence[int] = ()
) -> RankedScores:
    """From histograms, and rows that are in none of them.

    Args:
        tables: ``(1, 2, C, T)``, of all rows and of positives; ``(3, 2, C, T)`` with scores that were moved from other
            bins at each of ``PLACES``.
        axis: ``(C, 2)``.
        scores: logits ``(N, C)``, for multilabel log-odds.
        marks: as of ``ranked_rows``.
        multilabel: whether each row has any number of labels.
        ignored: classes that are left out of what is said of all together.
    """
    bins = tables.shape[3]
    rest = no_counts(tables.shape[2], bins)
    count_cells(rest, bins_of_rows(scores, axis, bins, multilabel=multilabel), marks)
    low, counts, high = found = tuple((tables + rest[..., :-1]).expand(len(PLACES), -1, -1, -1))
    ends = None if len(tables) == 1 else Ends(sides(low), sides(high))
    auroc, precision = areas(*sides(counts), ends)
    others = [k for k in range(len(axis)) if k not in ignored]
    onto = common_axis(axis[others])
    low, together, high = (
        moved(one[:, others], axis[others], onto, TOGETHER, position=place)
        for one, place in zip(found, PLACES, strict=True)
    )
    micro = areas(*sides(together), Ends(sides(low), sides(high)))
    each, whole = (_curves(part, own, multilabel=multilabel) for part, own in ((counts, axis), (together, onto)))
    return RankedScores(auroc, precision, micro, each, whole, tuple(ignored))


def _without(places: Tensor, marks: Tensor, ignored: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Scores ``(C, N)`` and marks without some classes, which have no rows of their own."""
    for k in sorted(ignored, reverse=True):
        places, marks = torch.cat([places[:k], places[k + 1 :]]), marks - (marks > k + 1).to(marks.dtype)
    return places, marks


def without_curves(
    num_classes: int,
    auroc: Bounded | None = None,
    precision: Bounded | None = None,
    micro: tuple[Bounded, Bounded] | None = None,
) -> RankedScores:
    """Where the classes are too many to be counted; without areas where their scores were not kept either."""
    none = Bounded(*torch.zeros(3, 0, dtype=torch.float64))
    undefined = Bounded(*torch.full((3, 1), torch.nan, dtype=torch.float64))
    counts, together = (
        _curves(torch.zeros(2, classes, 0, dtype=torch.int64), torch.ones(classes, 2), multilabel=False)
        for classes in (num_classes, 1)
    )
    return RankedScores(auroc or none, precision or none, micro or (undefined, undefined), counts, together)


def sides(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives, each ``(T, C)``, of counts ``(2, C, T)`` of all rows and of positives."""
    positives = counts[1].t()
    return positives, counts[0].t() - positives


def _curves(counts: Tensor, axis: Tensor, *, multilabel: bool) -> ScoreCounts:
    """Counts ``(2, C, T)`` in no more bins than a curve needs."""
    classes, bins = counts.shape[1:]
    few = min(bins, bins_of_curves(classes))
    if few:
        counts = counts.reshape(2, classes, few, -1).sum(dim=3)
    places = edge_at(torch.arange(few + 1)[:, None], axis, max(few, 1))
    return ScoreCounts(*sides(counts), probability_on_axis(places, multilabel=multilabel))
