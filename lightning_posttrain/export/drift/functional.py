"""What scores alone tell of drift, with limits that are as rare as asked for whatever the size of the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 10
"""Of confidence: equal shares of the reference."""
ENOUGH = 10
"""Rows that are expected in each group, of the reference and of the window: from there on the limit holds."""
TIE = 1e-3
"""How much lower than a quantile an edge lies, as a share of it: rows that are tied differ by rounding."""
WORTH_SAYING = 0.1
"""The index below which a difference is small, however sure: a usual threshold of the index."""


class Comparison(NamedTuple):
    """Counts beside those of a reference.

    Args:
        psi: population stability index, of groups with enough rows.
        limit: what it stays below without drift, in all but a share of windows.
        groups: how many were compared.
    """

    psi: float
    limit: float
    groups: int

    @property
    def over(self) -> bool:
        """Whether the index is over its limit."""
        return self.psi > self.limit


def log_odds_edges(confidence: ArrayLike, bins: int = BINS) -> NDArray[np.float64]:
    """Inner edges of bins with equal shares of the reference.

    Row ``i`` is in bin ``np.searchsorted(edges, confidence[i], side="right")``. A model that is surely right has many
    rows of one confidence: equal edges are one, and each lies a little below its quantile, so that rows that differ by
    rounding stay together. Where all rows are tied, the lower bin is empty, and is what a less sure row falls into.

    Args:
        confidence: log-odds of the top probability ``(N,)``, as ``row_confidence`` gives.
        bins: how many at most.

    Returns:
        ``(E,)``, 1 to ``bins - 1`` edges that rise.

    Raises:
        ValueError: no row, or fewer than two bins.

    Example:
        >>> log_odds_edges(np.arange(1000.0), bins=4).round(2).tolist()
        [249.5, 499.0, 748.5]
        >>> log_odds_edges([69.0] * 90 + [2.0] * 10).round(2).tolist()
        [62.24, 68.93]
    """
    found = np.asarray(confidence, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"`confidence` has shape {found.shape}, wanted (N,) with one row at least.")
    if bins < 2:
        raise ValueError(f"`bins` is {bins}, wanted 2 at least. {BINS} is usual.")
    quantiles = np.quantile(found, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(quantiles - TIE * np.maximum(np.abs(quantiles), 1))


def psi(reference: ArrayLike, now: ArrayLike) -> float:
    r"""Population stability index of two rows of counts: 0 where shares are equal, whatever the number of rows.

    With the shares :math:`a_b` and :math:`b_b` of bin :math:`b`, half a row added to each bin,

    .. math:: PSI = \sum_b (a_b - b_b) \log(a_b / b_b)

    which is the Kullback-Leibler divergence both ways (Jeffreys, 1946, doi:10.1098/rspa.1946.0056). Usual words, 0.1
    for some and 0.25 for much, hold for large numbers of rows alone: see ``limit``.

    Args:
        reference: counts ``(B,)``.
        now: counts ``(B,)``.

    Raises:
        ValueError: other shapes, or counts below 0.

    Example:
        >>> round(psi([100, 100], [50, 150]), 3), psi([100, 100], [7, 7])
        (0.272, 0.0)
    """
    first, second = (np.asarray(counts, dtype=np.float64) for counts in (reference, now))
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"`reference` and `now` have shapes {first.shape} and {second.shape}, wanted (B,) of both.")
    if min(first.min(), second.min()) < 0:
        raise ValueError("`reference` or `now` has a count below 0. Give numbers of rows.")
    a, b = ((counts + 0.5) / (counts + 0.5).sum() for counts in (first, second))
    return float(((a - b) * np.log(a / b)).sum())


def limit(reference_rows: int, rows: int, bins: int, alarms: float) -> float:
    r"""What the index stays below, without drift, in all but a share of windows.

    Without drift :math:`PSI \sim (1/n + 1/m) \chi^2_{B-1}` of ``n`` and ``m`` rows in ``B`` bins, as both are samples
    (Yurdakul, 2018, "Statistical properties of the population stability index"). The quantile is that of Wilson and
    Hilferty, 1931 (doi:10.1073/pnas.17.12.684), with :math:`k = B - 1` and the normal quantile :math:`z`:

    .. math:: (1/n + 1/m)\ k\ (1 - 2/(9k) + z \sqrt{2/(9k)})^3

    The share is one over references and windows: the alarms of one reference come together.

    Args:
        reference_rows: ``n``.
        rows: ``m`` of the window.
        bins: ``B``.
        alarms: share of windows without drift that are above, as 0.001.

    Raises:
        ValueError: no row, fewer than two bins, or a share that is none.

    Example:
        >>> round(limit(2000, 1000, 10, 0.001), 3), round(limit(200, 50, 10, 0.001), 3)
        (0.042, 0.702)
    """
    if min(reference_rows, rows) < 1 or bins < 2 or not 0 < alarms < 1:
        raise ValueError(
            f"`reference_rows`, `rows`, `bins` and `alarms` are {reference_rows}, {rows}, {bins} and {alarms}, "
            "wanted 1, 1 and 2 at least and a share between 0 and 1."
        )
    k, z = bins - 1, NormalDist().inv_cdf(1 - alarms)
    return (1 / reference_rows + 1 / rows) * k * max(1 - 2 / (9 * k) + z * math.sqrt(2 / (9 * k)), 0.0) ** 3


def pooled(counts: Sequence[int] | NDArray[Any], least: float) -> list[int]:
    """Where groups of neighbours with enough rows begin.

    Neighbours are taken together until they have ``least`` rows, in their order, not in that of their counts: classes
    that are seen often by chance in the reference would be fewer in any window. A sum that stops at a bound is right in
    the mean (Wald, 1944, doi:10.1214/aoms/1177731235). What is left at the end goes to the last group. There are
    two groups at least, of halves as equal as they can be.

    Args:
        counts: ``(B,)``, two at least.
        least: rows of a group.

    Returns:
        The first place of each group, from 0.

    Example:
        >>> pooled([50, 2, 3, 60, 1], least=10)
        [0, 1]
    """
    starts, held = [0], 0
    for place, count in enumerate(counts):
        if held >= least:
            starts.append(place)
            held = 0
        held += count
    if held < least and len(starts) > 1:
        starts.pop()
    if len(starts) == 1:
        below = np.cumsum(counts)[:-1]
        starts.append(1 + int(np.abs(below - np.sum(counts) / 2).argmin()))
    return starts


def compare(reference: NDArray[np.int64], now: NDArray[np.int64], alarms: float) -> Comparison:
    """The index of two rows of counts, neighbours pooled until ``ENOUGH`` rows are expected in each, and its limit.

    Args:
        reference: counts ``(B,)``.
        now: counts ``(B,)``, of one row at least.
        alarms: share of windows without drift that are above the limit.

    Example:
        >>> found = compare(np.array([200, 200, 200]), np.array([5, 60, 35]), alarms=0.001)
        >>> round(found.psi, 2), round(found.limit, 2), found.groups
        (0.66, 0.16, 3)
    """
    n, m = int(reference.sum()), int(now.sum())
    starts = pooled(reference.tolist(), least=ENOUGH * max(1.0, n / m))
    index = psi(np.add.reduceat(reference, starts), np.add.reduceat(now, starts))
    return Comparison(index, limit(n, m, len(starts), alarms), len(starts))


def accuracy_threshold(confidence: ArrayLike, correct: ArrayLike) -> float:
    """The confidence that as many rows of the reference reach as are right.

    Average thresholded confidence (Garg et al., 2022, arXiv:2201.04234, equation 1): the share of rows below it is the
    share of errors, as nearly as ties allow.

    Args:
        confidence: ``(N,)``, in any unit that rises.
        correct: ``(N,)``, whether each row is right.

    Raises:
        ValueError: no row, or two lengths.

    Example:
        >>> accuracy_threshold([1.0, 2.0, 3.0, 4.0], [False, True, True, True])
        2.0
    """
    found, right = np.sort(np.asarray(confidence, dtype=np.float64)), np.asarray(correct, dtype=bool)
    if found.shape != right.shape or found.ndim != 1 or not len(found):
        raise ValueError(
            f"`confidence` and `correct` have shapes {found.shape} and {right.shape}, wanted (N,) of both."
        )
    values, below = np.unique(found, return_index=True)
    values, below = np.append(values, values[-1] + 1), np.append(below, len(found))
    return float(values[np.abs(below - (~right).sum()).argmin()])


def estimated_accuracy(confidence: ArrayLike, threshold: float) -> float:
    """Share of rows that reach a threshold: read it as "at most about", never as an accuracy.

    Average thresholded confidence (Garg et al., 2022, arXiv:2201.04234, equation 2). It knows only what confidence
    knows: a model that is surely wrong looks right. Of digits turned by 60 degrees it said 0.91 for 0.26.

    Args:
        confidence: of unlabelled rows ``(N,)``.
        threshold: what ``accuracy_threshold`` gave for labelled ones.

    Raises:
        ValueError: no row.

    Example:
        >>> estimated_accuracy([1.0, 2.5, 3.0], threshold=2.0)
        0.6666666666666666
    """
    found = np.asarray(confidence, dtype=np.float64)
    if not found.size:
        raise ValueError("`confidence` has no row, wanted one at least.")
    return float((found >= threshold).mean())
