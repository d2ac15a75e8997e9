"""What stands above all sections: which run, which stage, of how many rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_posttrain.report.page.markup import Markup, element
from lightning_posttrain.report.page.sections.counts import Counts
from lightning_posttrain.report.page.sources import Sources


def title_of(sources: Sources) -> str:
    """The run's name, of the folders it stands in those that say something."""
    place = sources.folder.home.resolve().parent
    parts = [part for part in (place.parent.name, place.name) if part and part != "lightning_logs"]
    return " / ".join(parts) or "run"


def head(sources: Sources) -> Markup:
    """The title, and a line of facts."""
    return element(
        "header",
        element("p", f"{sources.stage}", class_="stage"),
        element("h1", title_of(sources)),
        element("p", " · ".join(_facts(sources)), class_="facts"),
    )


def _facts(sources: Sources) -> Iterator[str]:
    stage: dict[str, Any] = (sources.run.get("stages") or {}).get(sources.stage) or {}
    report = sources.record("classification_report")
    counts = Counts.beside(sources)
    rows = stage.get("rows") or (counts.rows if counts else None)
    if rows:
        yield f"{rows:,} rows"
    if counts:
        yield f"{len(counts.names):,} classes"
    epoch, step = (stage.get(name, report.get(name)) for name in ("epoch", "step"))
    if epoch is not None:
        yield f"epoch {epoch}, step {step:,}" if step is not None else f"epoch {epoch}"
    if module := sources.run.get("module"):
        yield str(module).rsplit(".", 1)[-1]
    if weights := stage.get("weights"):
        yield f"weights {weights}"
    if created := sources.run.get("updated"):
        yield str(created)[:16].replace("T", " ")
