"""Which exported files give the answers that were tested."""

from __future__ import annotations

from typing import Any

from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import Finding
from lightning_posttrain.report.findings.wording import percent, rows_of


def export(evidence: Evidence) -> Finding | None:
    """Formats that are kept, with the rows whose answer differs, and those that are refused, with the reason."""
    record = evidence.record("export")
    formats = record.get("formats") or ()
    if not formats:
        return None
    kept, refused = ([one for one in formats if one["kept"] is want] for want in (True, False))
    said = [f"Kept: {'; '.join(map(_kept, kept))}"] if kept else []
    said += [f"Not kept: {_files(one)}, as {str(one['reason']).rstrip('.')}" for one in refused]
    text = ". ".join(said)
    numbers = {"kept": len(kept), "refused": len(refused)}
    level: Any = "warn" if refused else "good"
    return Finding(f"{text}.", "export", level, "export", evidence.file("export.json"), numbers)


def _files(one: dict[str, Any]) -> str:
    return ", ".join(one["files"]) or str(one["name"])


def _kept(one: dict[str, Any]) -> str:
    if not one["rows"]:
        return f"{_files(one)} ({one['reason']}; compared on no rows)"
    bound = one.get("flips_bound")
    most = "" if bound is None else f", at most {percent(bound)} of new rows would (95 %)"
    return f"{_files(one)} ({one['flipped_rows']:,} of {rows_of(one['rows'])} change their answer{most})"
