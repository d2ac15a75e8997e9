"""Ensemble: what each way to combine members gains over the best of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import folded, table
from lightning_posttrain.report.page.wording import figure, percent, sentence

ANCHOR = "ensemble"


def ensemble(sources: Sources) -> Section | None:
    """The strategies, the best first, and the members folded away."""
    record = sources.record("ensemble")
    if not record.get("strategies"):
        return None
    said = " ".join(dict.fromkeys(sentence(str(note)) for note in record.get("notes") or ()))
    columns = ("", "log loss", "to the best alone, 95 %", "accuracy", "members")
    body = [element("p", said)] if said else []
    body.append(table(columns, _strategies(record), "Ways to combine the members"))
    body.append(_members(record))
    lead = f"Figures are of {record.get('samples') or 0:,} rows; below zero is better than the best member alone."
    return Section(ANCHOR, "Is an ensemble better?", "Ensemble", tuple(body), lead)


def _strategies(record: Mapping[str, Any]) -> Iterator[tuple[Child, ...]]:
    known = [each for each in record["strategies"] if each.get("log_loss") is not None]
    for each in sorted(known, key=lambda one: one["log_loss"]):
        name: Child = each.get("title") or each.get("name")
        if each.get("name") == record.get("chosen"):
            name = element("b", name, " (chosen)")
        yield (
            name,
            figure(each["log_loss"]),
            _apart(each.get("loss") or {}),
            percent(each.get("accuracy"), 1),
            each.get("members"),
        )


def _apart(loss: Mapping[str, Any]) -> str:
    value, low, high = loss.get("value"), loss.get("low"), loss.get("high")
    if value is None or not value:
        return ""
    said = f"{value:+.3f}" if low is None or high is None else f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    return said.replace("-", "−")


def _members(record: Mapping[str, Any]) -> Markup:
    rows = [
        (each.get("name"), figure(each.get("log_loss")), percent(each.get("accuracy"), 1))
        for each in record.get("members") or ()
    ]
    return folded(f"{len(rows)} members", table(("member", "log loss", "accuracy"), rows))
