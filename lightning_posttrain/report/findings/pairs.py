"""What is confused with what, more often than chance has it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lightning_posttrain.core.statistics.binomial import binomial_tail, share_interval
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import ALPHA, Finding
from lightning_posttrain.report.findings.wording import and_more, counted, quoted, rows_of, within

SHOWN, LEAST, TIMES = 3, 3, 2.0
"""Pairs in the sentence, errors of a pair at least, and how many times the odds that are expected."""
FILES = ("confused_pairs.csv", "confusion_matrix.csv", "confusion_matrix.json")


class Pair(NamedTuple):
    """Rows of one class that were taken for another.

    Args:
        actual, predicted: names.
        times: how many.
        rows: of the actual class.
        expected: how many of its errors would fall there if errors knew nothing of the pair.
        back: rows of the other class that were taken for this one, and its rows, where that is told apart.
    """

    actual: str
    predicted: str
    times: int
    rows: int
    expected: float
    back: tuple[int, int] | None


def pairs(evidence: Evidence) -> Finding | None:
    """Pairs of classes that are confused more often than errors would be that know nothing of the pair.

    Such an error falls on a class as often as the model says that class at all, or as often as on any other, whichever
    is more. A pair is named where its count is above that by an exact binomial test at 1 % over all pairs (Bonferroni),
    its odds are at least twice those, and it is 3 or more.
    """
    if evidence.errors is None or not evidence.conclusive or len(evidence.matrix["class_names"]) < 3:
        return None
    wrong = int(evidence.errors.rows.sum())
    if not wrong:
        return None
    found = confused(evidence)
    file = evidence.file(*FILES)
    if not found:
        among = f"the {counted(wrong, 'error')} of {rows_of(evidence.rows)}"
        text = f"No pair of classes stands out among {among}: none is confused more often than chance has it."
        return Finding(text, "pairs", "info", "what-goes-wrong", file, {"wrong": wrong})
    said = "; ".join(_said(one) for one in found[:1])
    more = and_more([_short(one) for one in found[1:]], SHOWN - 1)
    text = f"Most confused: {said}{f'. Also {more}' if more else ''}."
    numbers = {"pairs": len(found), "times": found[0].times, "rows": found[0].rows, "expected": found[0].expected}
    return Finding(text, "pairs", "warn", "what-goes-wrong", file, numbers)


def confused(evidence: Evidence) -> list[Pair]:
    """The pairs that are told apart from chance, most errors first."""
    classes, errors = evidence.classes, evidence.errors
    if classes is None or errors is None or not evidence.conclusive or len(classes.names) < 3:
        return []
    size, rows = len(classes.names), evidence.rows
    wrong = classes.support - classes.right
    other = np.maximum(rows - errors.predicted_rows, 1)
    found = []
    for a, p, n in zip(errors.actual.tolist(), errors.predicted.tolist(), errors.rows.tolist(), strict=True):
        share = min(max(1 / (size - 1), errors.predicted_rows[p] / other[a]), 1.0)
        if n < LEAST or n * (1 - share) < TIMES * share * (wrong[a] - n):
            continue
        if binomial_tail(n, int(wrong[a]), float(share)) <= ALPHA / (size * (size - 1)):
            expected, of = float(share * wrong[a]), int(classes.support[a])
            found.append(Pair(classes.names[a], classes.names[p], n, of, expected, _back(evidence, a, p, n)))
    return sorted(found, key=lambda one: -one.times)


def _back(evidence: Evidence, actual: int, predicted: int, count: int) -> tuple[int, int] | None:
    """How often it is the other way round, where that is significantly less often; at 1 % over all pairs."""
    classes, errors = evidence.classes, evidence.errors
    assert classes is not None
    assert errors is not None
    back = int(errors.rows[(errors.actual == predicted) & (errors.predicted == actual)].sum())
    rows, others = int(classes.support[actual]), int(classes.support[predicted])
    size = len(classes.names)
    if not others or back * rows * TIMES > count * others:
        return None
    tail = binomial_tail(count, count + back, rows / (rows + others))
    return (back, others) if tail <= ALPHA / (size * (size - 1)) else None


def _said(one: Pair) -> str:
    back = "" if one.back is None else f"; the other way round only {one.back[0]:,} of {one.back[1]:,}"
    share = within(one.times / one.rows, share_interval(one.times, one.rows))
    expected = f"{one.expected:.1f}" if one.expected >= 0.05 else "less than 0.1"
    name = f"{quoted(one.actual)} is taken for {quoted(one.predicted)}"
    return f"{name} {one.times:,} of {one.rows:,} times ({share}; {expected} would be chance{back})"


def _short(one: Pair) -> str:
    return f"{quoted(one.actual)} for {quoted(one.predicted)} {one.times:,} of {one.rows:,}"
