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
    samples = int(record.get("samples") or 0)
    if samples < FEW or "suspects" not in record:
        return None
    expected = record.get("totals") or {}
    count = int(expected.get("suspects") or len(record["suspects"]))
    file = evidence.file(*FILES)
    if not count:
        text = f"No label of {samples:,} is suspected to be wrong."
        return Finding(text, "label_errors", "info", "look-at-them", file, {"suspects": 0, "samples": samples})
    text = (
        f"{count:,} of {samples:,} labels look wrong{_of_these(expected, count)}. Look at them, the first ones first."
    )
    numbers = {"suspects": count, "samples": samples}
    wrong = expected.get("wrong")
    more = {} if wrong is None else {"wrong": wrong, "false_share": 1 - wrong / count}
    return Finding(text, "label_errors", "warn", "look-at-them", file, {**numbers, **more})


def _of_these(expected: dict[str, float], count: int) -> str:
    """How many of the suspects are wrong, where the record says it, and what share of them is not."""
    wrong = expected.get("wrong")
    if wrong is None:
        return "; how many of these are false alarms is in no file"
    spread = 1.96 * math.sqrt(expected["variance"])
    low, high = max(wrong - spread, 0.0), min(wrong + spread, count)
    return (
        f"; if the model's probabilities can be taken at their word, about {wrong:.0f} of these are (95 % interval "
        f"{math.floor(low)} to {math.ceil(high)}), and {percent(1 - wrong / count)} are false alarms"
    )
