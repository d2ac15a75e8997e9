"""How many labels are probably wrong."""

from __future__ import annotations

import math

from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import FEW, Finding
from lightning_posttrain.report.findings.wording import percent

FILES = ("label_errors/suspects.csv", "label_errors.json")


def label_errors(evidence: Evidence) -> Finding | None:
    """How many labels are suspected, and how many of these are wrong by the model's own probabilities."""
    record = evidence.record("label_errors")
    totals, file = record.get("totals") or {}, evidence.file(*FILES)
    samples, count = int(totals.get("samples") or 0), totals.get("suspects")
    if samples < FEW or count is None:
        return None
    if not count:
        text = f"No label of {samples:,} is suspected to be wrong."
        return Finding(text, "label_errors", "info", "look-at-them", file, {"suspects": 0, "samples": samples})
    wrong, spread = totals["wrong"], 1.96 * math.sqrt(totals["variance"])
    low, high = max(wrong - spread, 0.0), min(wrong + spread, count)
    text = (
        f"{count:,} of {samples:,} labels look wrong. Look at them, the first ones first: if the model's probabilities "
        f"can be taken at their word, about {wrong:.0f} of these are wrong (95 % interval {math.floor(low)} to "
        f"{math.ceil(high)}), and {percent(1 - wrong / count)} are false alarms."
    )
    numbers = {"suspects": count, "samples": samples, "wrong": wrong, "low": low, "high": high}
    return Finding(text, "label_errors", "warn", "look-at-them", file, numbers)
