"""Samples to look at: those of all groups, each once, with what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_posttrain.report.page.sources import PICTURES, Sources

GROUPS = {
    "highest_loss": "highest loss", "confident_errors": "sure and wrong", "unsure_hits": "unsure but right",
    "disagreement": "members disagree",
}  # fmt: skip
LABEL, PAIR = "label?", "confused pair"
KNOWN = {"group", "rank", "index", "actual", "predicted", "probability", "loss", "text"}
PARTS = {"": 0, "truth": 1, "prediction": 2}
"""Pictures of one sample in the order in which they are compared."""
VALUES = 60
"""Features of a row that are shown, at most."""
LETTERS = 2000


@dataclass(eq=False)
class Sample:
    """One sample, and why it is shown.

    Args:
        known: index, classes, probability, loss and text as the record has them.
        tags: which rules chose it.
        pictures: by what they show; its own under ``""``, then as ``"truth"``.
        values: features of a row of a table.
        top: the most probable classes with their probabilities.
        suggested: the class that its label should perhaps be.
    """

    known: Mapping[str, Any]
    tags: list[str]
    pictures: dict[str, Path] = field(default_factory=dict)
    values: list[tuple[str, str]] = field(default_factory=list)
    top: list[tuple[str, float]] = field(default_factory=list)
    suggested: str | None = None

    @property
    def index(self) -> int | None:
        """Its position in the dataset."""
        return self.known.get("index")

    @property
    def shows(self) -> bool:
        """Whether there is anything of it to look at by itself."""
        return bool(self.pictures or self.values or self.known.get("text"))

    @property
    def right(self) -> bool:
        """Whether it was predicted as it is."""
        return self.known.get("actual") == self.known.get("predicted")


def samples_of(sources: Sources) -> list[Sample]:
    """All that were kept, the highest loss first; one that several rules chose stands once."""
    record, place = sources.record("hard_examples"), sources.beside("hard_examples")
    found: dict[Any, Sample] = {}
    for group, rank, tag, known in _chosen(record):
        folder = place / ("cells" if tag == PAIR else "") / group
        key = known["index"] if known.get("index") is not None else (group, rank)
        sample = found.setdefault(key, Sample(known, []))
        if tag not in sample.tags:
            sample.tags.append(tag)
        sample.pictures = sample.pictures or _pictures(folder, rank)
    _add_values(found, sources.table(place.with_suffix(".csv")))
    by_index = {sample.index: sample for sample in found.values() if sample.index is not None}
    _add_suspects(by_index, sources)
    _add_top(by_index, sources)
    return list(found.values())


def _chosen(record: Mapping[str, Any]) -> Iterator[tuple[str, int, str, Mapping[str, Any]]]:
    """Name of the group, rank, tag and sample."""
    for group, samples in (record.get("groups") or {}).items():
        for rank, known in enumerate(samples, start=1):
            yield group, rank, GROUPS.get(group, group.replace("_", " ")), known
    for group, samples in (record.get("cells") or {}).items():
        for rank, known in enumerate(samples, start=1):
            yield group, rank, PAIR, known


def _pictures(folder: Path, rank: int) -> dict[str, Path]:
    """The picture of a rank, and those beside it: ``01.png``, ``01_truth.png``."""
    stem = f"{rank:02d}"
    paths = sorted(path for path in folder.glob(f"{stem}*") if path.suffix in PICTURES)
    named = {path.stem.removeprefix(stem).strip("_"): path for path in paths}
    return {name: named[name] for name in sorted(named, key=lambda name: (PARTS.get(name, len(PARTS)), name))}


def _add_values(found: Mapping[Any, Sample], rows: list[dict[str, str]]) -> None:
    """Features of rows of tables, which stand behind what is known of a sample."""
    features = [name for name in (rows[0] if rows else ()) if name not in KNOWN][:VALUES]
    for row in rows if features else ():
        sample = found.get(int(row["index"])) if row.get("index", "").isdigit() else None
        if sample is not None and not sample.values:
            sample.values = [(name, row[name]) for name in features if row[name] not in ("", None)]


def _add_suspects(by_index: Mapping[Any, Sample], sources: Sources) -> None:
    for suspect in sources.record("label_errors").get("suspects") or ():
        sample = by_index.get(suspect.get("index"))
        if sample is not None:
            sample.suggested = suspect.get("suggested")
            sample.tags.append(LABEL)


def _add_top(by_index: Mapping[Any, Sample], sources: Sources) -> None:
    for row in sources.table(sources.place / "predictions.csv"):
        sample = by_index.get(int(row["index"])) if row.get("index", "").isdigit() else None
        if sample is not None:
            named = ((row.get(f"top_{rank}"), row.get(f"p_{rank}")) for rank in range(1, 6))
            sample.top = [(name, float(share)) for name, share in named if name and share]
