"""How good it is, beside always saying the commonest class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_posttrain.core.statistics.binomial import binomial_tail
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import ALPHA, FEW, Finding, Level
from lightning_posttrain.report.findings.wording import percent, plain, quoted, rows_of, within

FILES = ("classification_report.csv", "classification_report.json", "confusion_matrix.csv", "confusion_matrix.json")


def accuracy(evidence: Evidence) -> Finding | None:
    """The share of rows that are right with its 95 % interval, and whether it beats always saying the commonest class.

    That is paired: of the rows that only one of the two has right, the model has more, by an exact sign test at 1 %.
    """
    hits, rows = evidence.hits
    if not rows or not (evidence.report or evidence.matrix):
        return None
    if evidence.dependent:
        return _of_positions(evidence)
    said, level, more = _beside_commonest(evidence)
    few = f" {rows_of(rows)} are too few to conclude more than this." if rows < FEW else ""
    low, high = evidence.accuracy_interval
    what = "have all their labels right" if evidence.labels else "are right"
    text = f"{hits:,} of {rows_of(rows)} {what} ({within(hits / rows, (low, high))}).{_of_labels(evidence)}{said}{few}"
    numbers = {"right": hits, "rows": rows, "share": hits / rows, "low": low, "high": high, **more}
    return Finding(text, "accuracy", level, "in-short", evidence.file(*FILES), numbers)


def _of_positions(evidence: Evidence) -> Finding:
    hits, rows = evidence.hits
    text = (
        f"{percent(hits / rows)} of {rows:,} positions are right. No interval: the positions of one sample, "
        "as the pixels of an image, are right and wrong together."
    )
    return Finding(text, "accuracy", "info", "in-short", evidence.file(*FILES), {"right": hits, "rows": rows})


def _of_labels(evidence: Evidence) -> str:
    loss = evidence.report.get("hamming_loss")
    return "" if loss is None else f" Label by label, {percent(1 - loss)} are right."


def _beside_commonest(evidence: Evidence) -> tuple[str, Level, Mapping[str, float]]:
    """In words, whether the model beats always saying the commonest class."""
    classes = evidence.classes
    if classes is None or not evidence.conclusive or len(classes.names) < 2:
        return "", "info", {}
    common = int(classes.support.argmax())
    base = int(classes.support[common])
    only_it, only_model = base - int(classes.right[common]), int(np.delete(classes.right, common).sum())
    share = percent(base / evidence.rows)
    numbers = {"commonest": base / evidence.rows}
    if binomial_tail(only_model, only_it + only_model, 0.5) <= ALPHA:
        return f" Always saying {quoted(classes.names[common])} would be right in {share}.", "good", numbers
    always = f"always saying {quoted(classes.names[common])}, the commonest class, is right in {share}"
    return f" It is not shown to be better than that: {always}.", "warn", numbers


def values(evidence: Evidence) -> Finding | None:
    """What torchmetrics gave, with the rows where they are known."""
    record = evidence.record("torchmetrics")
    known = _numbers(record)
    if not known:
        return None
    said = ", ".join(f"{plain(name)} {value:.4g}" for name, value in list(known.items())[:5])
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    of = f" on {rows_of(evidence.rows)}" if evidence.rows else "; how many rows is in no file"
    text = f"{said}{more}{of}. There is no interval for these: their values alone are kept."
    return Finding(text, "values", "info", "in-short", evidence.file("metrics.csv", "torchmetrics.json"), known)


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    found = record.get("values") or {}
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}
