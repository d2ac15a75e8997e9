"""Which classes are said more often than they are there."""

from __future__ import annotations

import numpy as np

from lightning_posttrain.core.statistics.binomial import binomial_tail, share_interval
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import ALPHA, Finding
from lightning_posttrain.report.findings.wording import quoted, within

TIMES = 1.5
"""How many times as often as it is missed a class is wrongly said at least."""
FILES = ("confusion_matrix.csv", "confusion_matrix.json")


def overused(evidence: Evidence) -> Finding | None:
    """The class that is wrongly said much more often than it is missed.

    By an exact sign test of the two at 1 % over all classes (Bonferroni), and at least 1.5 times as often. Of several,
    the one with the most rows too many.
    """
    if evidence.classes is None or evidence.errors is None or not evidence.conclusive:
        return None
    classes, said = evidence.classes, evidence.errors.predicted_rows
    wrongly, missed = said - classes.right, classes.support - classes.right
    most = [k for k in np.argsort(missed - wrongly, kind="stable").tolist() if wrongly[k] > TIMES * missed[k]]
    level = ALPHA / len(classes.names)
    found = [k for k in most if binomial_tail(int(wrongly[k]), int(wrongly[k] + missed[k]), 0.5) <= level]
    if not found:
        return None
    k, more = found[0], f" So {'is' if len(found) == 2 else 'are'} {len(found) - 1:,} more." if len(found) > 1 else ""
    wrong, lost = int(wrongly[k]), int(missed[k])
    share = within(wrong / (wrong + lost), share_interval(wrong, wrong + lost))
    text = (
        f"{quoted(classes.names[k])} is said too often: of {evidence.rows:,} rows {int(said[k]):,} are said to be "
        f"of it and {int(classes.support[k]):,} are. {wrong:,} times it is said wrongly, {lost:,} times it is missed "
        f"({share} of these errors are of the first kind).{more}"
    )
    numbers = {"said": int(said[k]), "rows": int(classes.support[k]), "wrongly": wrong, "missed": lost}
    return Finding(text, "overused", "warn", "what-goes-wrong", evidence.file(*FILES), numbers)
