"""Cost: how large the model is, how fast it answers, where the seconds of the run went, and what callbacks took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_posttrain.core.output.overhead import Spending
from lightning_posttrain.core.output.quantities import scaled, size_words
from lightning_posttrain.report.page.figures import bar
from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import folded, table
from lightning_posttrain.report.page.wording import percent, sentence, took

ANCHOR = "cost"
LEAST = 0.005
"""Share of the run that a row of the seconds has, at least."""
LAYERS = 40
BESIDE = ("apart", "background")
"""Kinds of rows that are no part of the run's seconds."""


def cost(sources: Sources) -> Section | None:
    """Figures, latency by batch size, seconds by what they went into, what callbacks took, and layers."""
    record, overhead = sources.record("profile", other="fit"), sources.record("overhead", other="fit")
    if not record and not overhead:
        return None
    items = [element("div", element("dt", name), element("dd", value)) for name, value in _figures(record)]
    figures = [element("dl", items, class_="figures")] if items else []
    body = [*figures, *_latency(record), *_seconds(record), *_overhead(overhead), *_layers(record)]
    told = [*(record.get("notes") or ()), *(overhead.get("notes") or ())]
    notes = " ".join(dict.fromkeys(sentence(str(note)) for note in told))
    if notes:
        body.append(element("p", notes, class_="quiet"))
    return Section(ANCHOR, "What does it cost?", "Cost", tuple(body))


def _figures(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if record.get("parameters") is not None:
        yield "parameters", scaled(record["parameters"])
    if (size := (record.get("count") or {}).get("parameter_bytes")) is not None:
        yield "weights", size_words(size)
    if record.get("flops") is not None:
        yield "FLOPs a row", scaled(record["flops"])
    if one := (record.get("latency") or {}).get("1"):
        yield "one row takes", took(one["median"])
    if record.get("training_seconds") is not None:
        yield "fit took", took(record["training_seconds"])
    if (peak := (record.get("peak") or {}).get("bytes")) is not None:
        yield "peak memory", size_words(peak)


def _latency(record: Mapping[str, Any]) -> Iterator[Markup]:
    timed = record.get("latency") or {}
    if timed:
        rows = [
            (size, took(one["median"]), took(one["p95"]), _each(one["median"], int(size)))
            for size, one in timed.items()
        ]
        yield table(("rows at once", "median", "95th percentile", "a row"), rows, "Latency of the forward")


def _each(seconds: float | None, rows: int) -> str:
    return took(None if seconds is None else seconds / rows)


def _seconds(record: Mapping[str, Any]) -> Iterator[Markup]:
    spent = [row for row in record.get("spent") or () if (row.get("share") or 0) >= LEAST]
    if spent:
        rows: list[tuple[Child, ...]] = [
            (row["name"], took(row["seconds"]), _share(row))
            for row in sorted(spent, key=lambda row: row.get("kind") in BESIDE)
        ]
        yield table(("where the seconds went", "took", "share"), rows)


def _overhead(record: Mapping[str, Any]) -> Iterator[Markup]:
    rows = [row for row in record.get("rows") or () if isinstance(row, list) and len(row) == len(Spending._fields)]
    spending = [Spending(*row) for row in rows]
    if spending:
        on_device = any(row.device is not None for row in spending)
        cells: list[tuple[Child, ...]] = [
            (row.name, _or_nothing(row.main), percent(row.share), _or_nothing(row.beside))
            + (_or_nothing(row.device),) * on_device
            for row in spending
        ]
        names = ("callback", "waited for", "share", "beside", *["device"] * on_device)
        all_, whole = percent(sum(row.share for row in spending)), took(record.get("seconds"))
        said = f"The callbacks took {all_} of {whole}: what each took, and drew and wrote beside the run"
        yield folded(said, table(names, cells))


def _or_nothing(seconds: float | None) -> str:
    return took(seconds) if seconds else ""


def _share(row: Mapping[str, Any]) -> Child:
    """Of what runs beside the run, or apart from it, no share."""
    if row.get("kind") in BESIDE:
        return ""
    return element("span", bar(min(row["share"], 1.0)), element("span", percent(row["share"])), class_="share")


def _layers(record: Mapping[str, Any]) -> Iterator[Markup]:
    layers = (record.get("architecture") or {}).get("rows") or ()
    batch = (record.get("architecture") or {}).get("batch") or 1
    if layers:
        rows = [
            (row["name"], row["kind"], f"{row['parameters']:,}", scaled(row["flops"] / batch))
            for row in layers[:LAYERS]
        ]
        more = f", the first {LAYERS}" if len(layers) > LAYERS else ""
        found = table(("layer", "kind", "parameters", "FLOPs a row"), rows, words=2)
        yield folded(f"{len(layers)} layers{more}", found)
