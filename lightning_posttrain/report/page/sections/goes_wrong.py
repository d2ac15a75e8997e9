"""What goes wrong: which class is taken for which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sections.counts import Counts
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import table
from lightning_posttrain.report.page.wording import between, interval, percent

ANCHOR = "what-goes-wrong"
PAIRS = 12
MOST_LABELS = 200


def goes_wrong(sources: Sources) -> Section | None:
    """The matrix, and the most confused pairs beside it; of labels, misses and false alarms."""
    record = sources.record("confusion_matrix")
    counts = Counts.of(record)
    if counts is None:
        return _labels(record)
    order = counts.by_confusion()
    ends = sources.independent
    data = {"names": counts.names, "cells": counts.drawn, "order": order, "support": counts.support}
    body = element(
        "div",
        _matrix(counts),
        element("div", *_beside(counts, with_ends=ends), class_="beside"),
        class_="two",
    )
    lead = (
        "Rows are what it is, columns what the model says. Point at a square for its names and click it for its "
        "samples; with the keyboard, arrows and Enter."
    )
    return Section(ANCHOR, "What goes wrong?", "Errors", (body,), lead, data)


def _matrix(counts: Counts) -> Markup:
    first = counts.errors[:1]
    most = "; no row is wrong"
    if first:
        actual, predicted, count = first[0]
        most = f"; most often {counts.names[actual]} is taken for {counts.names[predicted]}, {count:,} times"
    said = (
        f"Confusion matrix of {len(counts.names):,} classes: {counts.right:,} of {counts.rows:,} rows are right{most}."
    )
    options = (("confusion", "confused ones together"), ("given", "as given"), ("weakest", "weakest first"))
    chosen = element("select", [element("option", text, value=value) for value, text in options], id="order")
    return element(
        "div",
        element("p", element("label", "Order ", chosen), class_="tools"),
        element("canvas", id="matrix", tabindex=0, role="img", aria_label=said, aria_describedby="cell"),
        element("p", "Grey: right, the darker the more of its class. Coloured: wrong.", class_="quiet"),
        class_="matrix",
    )


def _beside(counts: Counts, *, with_ends: bool) -> Iterator[Markup]:
    yield element("p", "\u00a0", id="cell", role="status")
    yield element("div", id="cell-samples", class_="strip")
    if counts.errors:
        yield element("h3", "Most confused")
        pairs = _pairs(counts, with_ends=with_ends)
        yield table(("it is", "taken for", "rows", "of its class"), pairs, words=2, id_="pairs")
        yield from _left_out(counts)
    else:
        yield element("p", "No row is wrong.")


def _pairs(counts: Counts, *, with_ends: bool) -> Iterator[tuple[Child, ...]]:
    for actual, predicted, count in counts.errors[:PAIRS]:
        rows = counts.support[actual]
        pair = element("button", counts.names[actual], type="button", data_a=actual, data_p=predicted, class_="plain")
        ends = f"95 % interval {between(*interval(count, rows))}" if with_ends else None
        share = element("span", percent(count / rows), title=ends)
        yield pair, counts.names[predicted], f"{count:,}", share


def _left_out(counts: Counts) -> Iterator[Markup]:
    pairs = len(counts.errors)
    if pairs > PAIRS:
        link = element("a", "confused_pairs.csv", href="confused_pairs.csv")
        yield element("p", f"{pairs - PAIRS:,} more pairs in ", link, class_="quiet")
    if len(counts.drawn) < len(counts.cells):
        left = len(counts.cells) - len(counts.drawn)
        yield element("p", f"{left:,} of the smallest cells are left out here.", class_="quiet")


def _labels(record: dict[str, Any]) -> Section | None:
    """Of labels that stand for themselves: which are missed, and which are said though they are not there."""
    names, counts = record.get("class_names") or (), record.get("counts") or ()
    if not names or len(names) != len(counts):
        return None
    found = []
    for name, ((absent, alarms), (missed, hits)) in zip(names, counts, strict=True):
        found.append((missed + alarms, (str(name), missed, missed + hits, alarms, absent + alarms)))
    found.sort(key=lambda row: -row[0])
    rows = [
        (name, f"{missed:,} of {there:,}", f"{alarms:,} of {absent:,}")
        for _, (name, missed, there, alarms, absent) in found[:MOST_LABELS]
    ]
    body = [table(("label", "missed", "said though absent"), rows, "Errors of each label")]
    if len(found) > MOST_LABELS:
        body.append(element("p", f"{len(found) - MOST_LABELS:,} more in confusion_matrix.csv.", class_="quiet"))
    return Section(ANCHOR, "What goes wrong?", "Errors", tuple(body), "Each label by itself, the most errors first.")
