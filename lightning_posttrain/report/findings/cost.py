"""What it costs, and what of that is wasted."""

from __future__ import annotations

from typing import Any

from lightning_posttrain.core.output.result import listed
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import Finding
from lightning_posttrain.report.findings.wording import percent, plain, quoted

SHARE, SECONDS = 0.2, 10.0
"""Share of a run's time from which on a part of it is named, and the seconds that a run must have taken."""
PARTS = ("callback", "data")


def unused(evidence: Evidence) -> Finding | None:
    """Parameters that no call of a step reads."""
    record, stage = _profile(evidence)
    count = record.get("count") or {}
    if not count.get("unused_total"):
        return None
    names = listed([quoted(name) for name in count["unused"]], 4)
    share = percent(count["unused_total"] / count["total"])
    text = (
        f"{count['unused_total']:,} of {count['total']:,} parameters ({share}) are used by nothing: {names}. "
        "Take them out of the module, or use them."
    )
    numbers = {"unused": count["unused_total"], "parameters": count["total"]}
    return Finding(text, "unused", "warn", "cost", evidence.file("profile.json", stage=stage), numbers)


def slowest(evidence: Evidence) -> Finding | None:
    """The callback, or waiting for data, that takes more than a fifth of the time of a run of 10 seconds or more."""
    record, stage = _profile(evidence)
    rows = [row for row in record.get("spent") or () if row["kind"] in PARTS and row["share"] > SHARE]
    if not rows or record.get("wall", 0.0) < SECONDS:
        return None
    row = max(rows, key=lambda one: one["share"])
    data = row["kind"] == "data"
    what = "Waiting for data" if data else f"The callback {plain(row['name'])}"
    cure = "More workers of the DataLoader would help." if data else "See its options for doing less, or less often."
    run = "fit" if stage == "fit" else f"run of {stage}"
    seconds = f"{row['seconds']:.0f} of {record['wall']:.0f} seconds of the {run}"
    text = f"{what} takes {percent(row['share'])} of the time, {seconds}. {cure}"
    numbers = {"share": row["share"], "seconds": row["seconds"], "wall": record["wall"]}
    return Finding(text, "slowest", "warn", "cost", evidence.file("profile.json", stage=stage), numbers)


def size(evidence: Evidence) -> Finding | None:
    """Parameters, arithmetic and time of one row."""
    record, stage = _profile(evidence)
    if not record.get("parameters"):
        return None
    said = [f"{record['parameters']:,} parameters"]
    said += [f"{record['flops']:,.0f} arithmetic operations (FLOPs) a row"] if record.get("flops") else []
    first = (record.get("latency") or {}).get("1") or {}
    took = 1e3 * (first.get("median") or 0.0)
    said += [f"{took:.3g} ms for a row alone (median of {first['calls']:,} calls)"] if took else []
    numbers = {"parameters": record["parameters"], "latency_ms": took}
    text = f"The model has {said[0]}{''.join(f', {part}' for part in said[1:])}."
    return Finding(text, "size", "info", "cost", evidence.file("profile.json", stage=stage), numbers)


def _profile(evidence: Evidence) -> tuple[dict[str, Any], str]:
    """The profile of the fit where there is one, else of the stage, and whose it is."""
    found = evidence.record("profile", "fit")
    return (found, "fit") if found else (evidence.record("profile"), evidence.stage)
