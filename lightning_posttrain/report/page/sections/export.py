"""Export: whether each format gives the answers that were tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_posttrain.core.output.quantities import size_words
from lightning_posttrain.report.page.markup import Child, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import table
from lightning_posttrain.report.page.wording import DASH, sentence, took

ANCHOR = "export"


def export(sources: Sources) -> Section | None:
    """Each format in a line, and what goes with it in sentences."""
    record = sources.record("export")
    if not record.get("formats"):
        return None
    columns = ("file", "kept", "labels that flip", "largest difference", "one call", "size")
    notes = [element("li", sentence(str(note))) for note in record.get("notes") or ()]
    body = (
        table(columns, _formats(record), "Formats, each beside the model that was tested", words=2),
        element("ul", notes, class_="plainly"),
    )
    return Section(ANCHOR, "Does the export answer the same?", "Export", body)


def _formats(record: Mapping[str, Any]) -> Iterator[tuple[Child, ...]]:
    for one in record["formats"]:
        timed = one.get("latency") or {}
        first = timed.get(min(timed, key=int)) if timed else None
        compared = bool(one.get("rows"))
        yield (
            ", ".join(one.get("files") or ()) or one.get("name"),
            "yes" if one.get("kept") else element("b", "no"),
            f"{one['flips']:,} of {one['decisions']:,}" if compared else DASH,
            f"{one['largest']:.1e}" if one.get("largest") is not None else DASH,
            took(first["exported"]["median"]) if first else DASH,
            size_words(one["bytes"]) if one.get("bytes") else DASH,
        )
