"""Whether training went on for too long."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import Finding

EPOCHS, RATIO = 3, 1.05
"""Epochs in a row over which the gap grows, and how many times its best validation's loss is then at least."""


def overfitting(evidence: Evidence) -> Finding | None:
    """Whether the gap of the loss grew over the last three epochs or more while validation's loss rose.

    It is the log loss where that is known; validation's is then 5 % above its best at least. A gap of accuracies alone
    says nothing.
    """
    series = _of_gap(evidence) or _of_history(evidence)
    count = _growing(series)
    if count < EPOCHS:
        return None
    best, last = min(series, key=lambda one: one[2]), series[-1]
    if last[2] < RATIO * best[2]:
        return None
    text = (
        f"It trained for too long: over the last {count} epochs the loss of validation rose, to "
        f"{last[2]:.3f} in epoch {last[0]} from {best[2]:.3f} in epoch {best[0]}, its best, away from training's "
        f"{last[1]:.3f}. Look at the weights of epoch {best[0]}. No interval: one figure an epoch is all that is kept."
    )
    numbers = {"epochs": count, "best": best[2], "last": last[2], "train": last[1], "best_epoch": best[0]}
    return Finding(text, "overfitting", "warn", "training", _file(evidence), numbers)


def _file(evidence: Evidence) -> str | None:
    if (evidence.folder.home / "gap" / "history.json").is_file():
        return "gap/history.json"
    return "history.jsonl"


def _growing(series: Sequence[tuple[int, float, float]]) -> int:
    """Over how many of the last epochs both validation's loss and its distance to training's grew."""
    count = 0
    for (_, train, val), (_, before, val_before) in zip(series[:0:-1], series[-2::-1], strict=True):
        if not (val > val_before and val - train > val_before - before):
            break
        count += 1
    return count


def _of_gap(evidence: Evidence) -> list[tuple[int, float, float]]:
    record = evidence.record("history", "gap")
    rows = (record.get("history") or {}).get("log_loss") or []
    return [(row["epoch"], row["train"], row["val"]) for row in rows if None not in row.values()]


def _of_history(evidence: Evidence) -> list[tuple[int, float, float]]:
    """From the lines of each stage, where both have the log loss of an epoch, or what the module calls its loss."""
    for name in ("log_loss", "loss"):
        train, val = (_of_stage(evidence, stage, name) for stage in ("train", "val"))
        if common := sorted(train.keys() & val.keys()):
            return [(epoch, train[epoch], val[epoch]) for epoch in common]
    return []


def _of_stage(evidence: Evidence, stage: str, name: str) -> dict[int, float]:
    """A figure of each epoch, as it was noted last."""
    found = {}
    for line in evidence.folder.history():
        metrics = line.get("metrics") or {}
        value = metrics.get(f"{name}_epoch", metrics.get(name))
        if line.get("stage") == stage and isinstance(value, (int, float)):
            found[line["epoch"]] = float(value)
    return found
