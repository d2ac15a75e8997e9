"""What follows from the order of scores: exactly from rows, within bounds from histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.exact import exact_areas, exact_areas_together
from lightning_posttrain.classification.functional.histograms import (
    PLACES,
    TOGETHER,
    all_bins,
    all_on_axis,
    bins_of_curves,
    bins_of_rows,
    common_axis,
    count_cells,
    edge_at,
    fitted_axis,
    fitted_step,
    no_counts,
    probability_on_axis,
)
from lightning_posttrain.classification.functional.moved_histograms import moved
from lightning_posttrain.classification.functional.ranking import Ends, areas
from lightning_posttrain.classification.result.scores import Bounded, RankedScores, ScoreCounts
from lightning_posttrain.core.output.deferred import Deferred

MOST_CLASSES = 4096
"""With more classes there are no histograms: they would take hundreds of megabytes."""
EXACT_TOGETHER = 1 << 22
"""Scores of which the areas of all classes together are exact: a sort of them takes 0.1 s."""
AREAS = ("auroc", "average_precision")
PARTS = ("each", "together")
Table = tuple[Tensor, Tensor]
"""Counts ``(2, C, T)`` of all rows and of positives, and the axis ``(C, 2)`` of their bins."""


def ranked_rows(scores: Tensor, marks: Tensor, *, multilabel: bool, ignored: Sequence[int] = ()) -> RankedScores:
    """From all rows; what is not of single classes when it is first asked for, where no more than 32 MiB wait for that.

    Args:
        scores: logits ``(N, C)``, for multilabel log-odds.
        marks: one more than the class ``(N, 1)``, or than 0 or 1 for each label ``(N, C)``; 0 where not counted.
        multilabel: whether each row has any number of labels.
        ignored: classes that are left out of what is said of all together.
    """
    classes = scores.shape[1]
    places = all_on_axis(scores, multilabel=multilabel)
    auroc, precision = exact_areas(places, marks)
    few = places.numel() <= EXACT_TOGETHER
    exact = Deferred(lambda: _named(exact_areas_together(*_without(places, marks, ignored))), AREAS)
    if classes > MOST_CLASSES:
        return without_curves(classes, auroc, precision, exact if few else None)
    tables = Deferred(lambda: _tables(places, marks, ignored))
    pooled = exact if few else _named(areas(*sides(tables["together"][0])))
    binned = _binned(tables, multilabel=multilabel)
    return RankedScores(auroc, precision, pooled, binned if few else dict(binned), ignored=tuple(ignored))


def _tables(places: Tensor, marks: Tensor, ignored: Sequence[int]) -> dict[str, Table]:
    """Scores ``(C, N)`` in bins, by class and of all together."""
    classes = len(places)
    step = fitted_step(places.shape[1], classes)
    axis = fitted_axis(places[:, ::step], marks[::step])
    onto = common_axis(axis[[k for k in range(classes) if k not in ignored]])
    counts, together = no_counts(classes, bins_of_curves(classes)), no_counts(1, TOGETHER)
    kept = _without(places, marks, ignored)
    for part, own, (where, of) in ((counts, axis, (places, marks)), (together, onto, kept)):
        count_cells(part, all_bins(where, own, part.shape[2] - 1), of)
    return {"each": (counts[..., :-1], axis), "together": (together[..., :-1], onto)}


def _binned(tables: Mapping[str, Table], *, multilabel: bool) -> Deferred[ScoreCounts]:
    return Deferred(lambda: {name: _curves(*tables[name], multilabel=multilabel) for name in PARTS}, PARTS)


def _named(both: tuple[Bounded, Bounded]) -> dict[str, Bounded]:
    return dict(zip(AREAS, both, strict=True))


def ranked_counts(
    tables: Tensor, axis: Tensor, scores: Tensor, marks: Tensor, *, multilabel: bool, ignored: Sequence[int] = ()
) -> RankedScores:
    """From histograms, and rows that are in none of them.

    What is not of single classes is worked out when it is first asked for.

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
    as_one = Deferred(lambda: _together(found, axis, others, onto))
    both = Deferred(lambda: {"each": (counts, axis), "together": (as_one["middle"], onto)})
    pooled = Deferred(lambda: _named(_pooled_areas(**as_one)), AREAS)
    return RankedScores(auroc, precision, pooled, _binned(both, multilabel=multilabel), ignored=tuple(ignored))


def _together(found: Sequence[Tensor], axis: Tensor, others: list[int], onto: Tensor) -> dict[str, Tensor]:
    """Counts of all classes as of one, with scores at the lowest, the middle and the highest place in their bins."""
    triples = zip(("low", "middle", "high"), found, PLACES, strict=True)
    return {name: moved(one[:, others], axis[others], onto, TOGETHER, position=place) for name, one, place in triples}


def _pooled_areas(low: Tensor, middle: Tensor, high: Tensor) -> tuple[Bounded, Bounded]:
    return areas(*sides(middle), Ends(sides(low), sides(high)))


def _without(places: Tensor, marks: Tensor, ignored: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Scores ``(C, N)`` and marks without some classes, which have no rows of their own."""
    for k in sorted(ignored, reverse=True):
        places, marks = torch.cat([places[:k], places[k + 1 :]]), marks - (marks > k + 1).to(marks.dtype)
    return places, marks


def without_curves(
    num_classes: int,
    auroc: Bounded | None = None,
    precision: Bounded | None = None,
    pooled: Mapping[str, Bounded] | None = None,
) -> RankedScores:
    """Where the classes are too many to be counted; without areas where their scores were not kept either."""
    none = Bounded(*torch.zeros(3, 0, dtype=torch.float64))
    undefined = Bounded(*torch.full((3, 1), torch.nan, dtype=torch.float64))
    binned = {
        name: _curves(torch.zeros(2, classes, 0, dtype=torch.int64), torch.ones(classes, 2), multilabel=False)
        for name, classes in zip(PARTS, (num_classes, 1), strict=True)
    }
    pooled = _named((undefined, undefined)) if pooled is None else pooled
    return RankedScores(auroc or none, precision or none, pooled, binned, drawn=False)


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
