"""Whether an ensemble is better than its best member."""

from __future__ import annotations

from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import FEW, Finding
from lightning_posttrain.report.findings.wording import rows_of


def ensemble(evidence: Evidence) -> Finding | None:
    """Whether what was chosen on validation is better than the best member alone: its paired interval excludes 0."""
    record = evidence.record("ensemble")
    chosen = next((one for one in record.get("strategies") or () if one["name"] == record.get("chosen")), None)
    rows = int(record.get("samples") or 0)
    if rows < FEW or chosen is None or not record.get("kept") or chosen["loss"]["low"] is None:
        return None
    value, low, high = (chosen["loss"][name] for name in ("value", "low", "high"))
    alone = record["strategies"][0]
    what = f"{chosen['title'][0].upper()}{chosen['title'][1:]} of {chosen['members']} members"
    numbers = {"loss": value, "low": low, "high": high, "rows": rows}
    file = evidence.file("ensemble.json")
    if low <= 0 <= high:
        text = f"{what} is not told apart from its best member alone on {rows_of(rows)}: one model does as well."
        return Finding(text, "ensemble", "info", "ensemble", file, numbers)
    way, least, most = ("better", -high, -low) if high < 0 else ("worse", low, high)
    text = (
        f"{what} is {way} than its best member alone ({alone['words'].removesuffix(' alone')}): log loss "
        f"{chosen['log_loss']:.3f} against {alone['log_loss']:.3f}, {least:.3f} to {most:.3f} {way} (95 % interval of "
        f"the paired difference, {rows_of(rows)}). It costs {chosen['members']} forward passes instead of 1."
    )
    return Finding(text, "ensemble", "good" if way == "better" else "warn", "ensemble", file, numbers)
