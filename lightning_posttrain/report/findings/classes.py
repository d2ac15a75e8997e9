"""Which classes are worse than the others, where that can be told."""

from __future__ import annotations

from lightning_posttrain.core.statistics.binomial import upper_bound
from lightning_posttrain.report.findings.counts import ClassCounts
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import ALPHA, Finding
from lightning_posttrain.report.findings.wording import and_more, percent, quoted

SHOWN = 3
WORSE = 1.25
"""How many times the error rate of all rows a class has at least to be called worse."""
FILES = ("classification_report.csv", "classification_report.json", "confusion_matrix.json")
RULE = "bounds that hold for all classes at once with 99 %"


def classes(evidence: Evidence) -> Finding | None:
    """Classes of which a smaller share is right than of all rows: by intervals that hold for all classes at once.

    A class is named where the upper end of its exact interval, at 1 % over all classes (Bonferroni), is below the share
    of all rows, and it is wrong at least 1.25 times as often. Worst first, by that upper end.
    """
    found = evidence.classes
    if found is None or not evidence.conclusive or (found.support > 0).sum() < 2:
        return None
    mean = found.right.sum() / found.support.sum()
    weak = _below(found, float(mean))
    file = evidence.file(*FILES)
    if weak:
        numbers = {found.names[k]: high for k, high in weak.items()}
        return Finding(_named(found, weak, float(mean)), "classes", "warn", "classes", file, numbers)
    if not found.support.sum() > found.right.sum():
        return None
    return Finding(_alike(found, float(mean)), "classes", "info", "classes", file, {"mean": float(mean)})


def _below(found: ClassCounts, mean: float) -> dict[int, float]:
    """Number and upper end of each class that is below the mean, the worst first."""
    level, least = 1 - ALPHA / int((found.support > 0).sum()), WORSE * (1 - mean)
    counts = zip(found.right.tolist(), found.support.tolist(), strict=True)
    worse = {k: (right, rows) for k, (right, rows) in enumerate(counts) if rows and 1 - right / rows >= least}
    ends = {k: upper_bound(right, rows, level=level) for k, (right, rows) in worse.items()}
    return dict(sorted(((k, high) for k, high in ends.items() if high < mean), key=lambda one: one[1]))


def _named(found: ClassCounts, weak: dict[int, float], mean: float) -> str:
    said = []
    for k, high in weak.items():
        right, rows = int(found.right[k]), int(found.support[k])
        said.append(
            f"{quoted(found.names[k])} {right:,} of {rows:,} ({percent(right / rows)}, at most {percent(high)})"
        )
    what = "This class is" if len(weak) == 1 else "These classes are"
    of = f"of all {int(found.support.sum()):,} rows {percent(mean)} are"
    return f"{what} right significantly less often than the mean: {and_more(said, SHOWN)}; {of} ({RULE})."


def _alike(found: ClassCounts, mean: float) -> str:
    """That no class stands out, and how many have too few rows to do so."""
    there = found.support[found.support > 0]
    level = 1 - ALPHA / len(there)
    silent = sum(upper_bound(0, rows, level=level) >= mean for rows in there.tolist())
    sizes = f"{there.min():,} to {there.max():,} rows each"
    if silent == len(there):
        return (
            f"With {sizes}, the {len(there):,} classes have too few rows to say which of them is worse than the mean."
        )
    few = f"; {silent:,} of them have too few rows to say" if silent else ""
    return f"No class is told apart from the mean of {percent(mean)}: {len(there):,} classes, {sizes}{few} ({RULE})."
