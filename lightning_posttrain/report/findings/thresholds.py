"""What answering only where it is sure is worth, and what chosen thresholds change."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import ALPHA, Finding, Level
from lightning_posttrain.report.findings.wording import percent, plain, rows_of, within

WIDER = NormalDist().inv_cdf(1 - ALPHA / 2) / NormalDist().inv_cdf(0.975)
"""How many times as wide as an interval of 95 % one of 99 % is."""
FILES = ("thresholds/risk_coverage.png", "thresholds.json")


def abstention(evidence: Evidence) -> Finding | None:
    """How many rows are answered from the chosen confidence on, and how many of these are right.

    That the share of errors is above what was asked for is said where the lower end of its exact interval at 1 % is.
    """
    record = evidence.record("thresholds")
    found = record.get("abstention") or record
    wanted = found.get("max_risk")
    if wanted is None or evidence.dependent or not found.get("rows"):
        return None
    file = evidence.file(*FILES)
    if found.get("chosen") is None:
        text = f"No confidence keeps the errors at {percent(wanted)} or less, of {rows_of(found['rows'])}."
        return Finding(text, "abstention", "info", "believed", file, {"max_risk": wanted, "rows": found["rows"]})
    answered = round(found["coverage_at"] * found["rows"])
    errors = round((found["risk_at"] or 0.0) * answered)
    text = f"From a confidence of {found['chosen']:.2f} on it answers {answered:,} of {rows_of(found['rows'])}"
    numbers = {"answered": answered, "rows": found["rows"], "errors": errors, "max_risk": wanted}
    if not answered:
        return Finding(f"{text}.", "abstention", "info", "believed", file, numbers)
    low, high = share_interval(errors, answered)
    share = within(1 - errors / answered, (1 - high, 1 - low))
    verdict, level = _kept(errors, answered, wanted, frozen=bool(found.get("frozen")))
    text = f"{text} ({percent(answered / found['rows'])}), and {answered - errors:,} of these are right ({share})"
    text = f"{text}; {verdict}."
    return Finding(text, "abstention", level, "believed", file, {**numbers, "low": 1 - high, "high": 1 - low})


def _kept(errors: int, answered: int, wanted: float, *, frozen: bool) -> tuple[str, Level]:
    """Whether the share of errors that was asked for is kept."""
    most = percent(wanted)
    if not frozen:
        return f"that confidence was chosen on these rows for at most {most} wrong, so expect more on new ones", "info"
    if share_interval(errors, answered, level=1 - 2 * ALPHA)[0] > wanted:
        return f"that is more wrong than the {most} it was chosen for", "warn"
    if share_interval(errors, answered)[1] <= wanted:
        return f"the {most} wrong that it was chosen for is kept", "good"
    return f"whether the {most} wrong that it was chosen for is kept, so few rows do not show", "info"


def gain(evidence: Evidence) -> Finding | None:
    """What chosen thresholds win over 0.5, where the interval of that, widened to 99 %, lies on one side of 0."""
    record = evidence.record("thresholds")
    figures = (record.get("gain"), *(record.get("gain_interval") or ()))
    if not record.get("tuned") or None in figures or not evidence.conclusive:
        return None
    value, low, high = map(float, figures)
    if value - WIDER * (value - low) <= 0 <= value + WIDER * (high - value):
        return None
    text = f"Thresholds other than 0.5 {_change(record, value, low, high)}, of {rows_of(record['rows'])}."
    level: Level = "good" if value > 0 else "warn"
    numbers = {"gain": value, "low": low, "high": high, "rows": record["rows"]}
    return Finding(text, "thresholds", level, "believed", evidence.file("thresholds.json"), numbers)


def _change(record: Mapping[str, Any], value: float, low: float, high: float) -> str:
    cost = record["name"] == "cost"
    verb = "raise" if (value > 0) != cost else "lower"
    ends = sorted((abs(low), abs(high)))
    mean = "the mean " if len(record["class_names"]) > 1 else ""
    what = "cost of a row" if cost else plain(record["objective"])
    return f"{verb} {mean}{what} by {abs(value):.3f} (95 % interval {ends[0]:.3f} to {ends[1]:.3f})"
