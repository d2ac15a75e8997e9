"""Which rows are in no figure, and whether the module's own figures agree."""

from __future__ import annotations

from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import Finding
from lightning_posttrain.report.findings.wording import percent, rows_of

FILE = "classification_report.json"
CONTRADICTS = "the module logs "
AGREES = "agrees with the module's"


def left_out(evidence: Evidence) -> Finding | None:
    """Rows that enter no figure, and why."""
    causes = (("nonfinite", "their scores are NaN or infinite"), ("out_of_range", "their target is no class"))
    counts = {name: int(evidence.matrix.get(name) or 0) for name, _ in causes}
    total = sum(counts.values())
    if not total:
        notes = [note for note in evidence.report.get("notes") or () if " left out: " in note]
        text = f"{'; '.join(notes)}, beside the {rows_of(evidence.rows)} that are counted."
        return Finding(text, "left_out", "warn", "how-made", evidence.file(FILE)) if notes else None
    said = "; ".join(f"{counts[name]:,} as {why}" for name, why in causes if counts[name])
    share = percent(total / (total + evidence.rows))
    what = "labels" if evidence.labels else "rows"
    text = f"{total:,} {what} ({share}) are in no figure: {said}. {rows_of(evidence.rows)} are counted."
    return Finding(text, "left_out", "warn", "how-made", evidence.file(FILE, "confusion_matrix.json"), {**counts})


def agreement(evidence: Evidence) -> Finding | None:
    """Whether figures that the module logs of the same rows are the same here."""
    remarks = evidence.folder.run.get("remarks") or ()
    texts = [str(one.get("text")) for one in remarks if one.get("stage") in (None, evidence.stage)]
    against = [text for text in texts if CONTRADICTS in text and "and the accuracy of the same rows is" in text]
    if against:
        text = f"The module's own figure is another one: {against[0].rstrip('.')}. One of the two is wrong."
        return Finding(text, "agreement", "warn", "how-made", "run.json")
    notes = [note for note in evidence.report.get("notes") or () if AGREES in note]
    if not notes:
        return None
    first = "; ".join(note[0].upper() + note[1:] for note in notes[:2])
    return Finding(f"{first} (on {rows_of(evidence.rows)}).", "agreement", "good", "how-made", evidence.file(FILE))
