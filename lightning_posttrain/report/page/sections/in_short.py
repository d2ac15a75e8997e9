"""In short: how good it is, and what was found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from lightning_posttrain.report.findings.evidence import accuracy_interval
from lightning_posttrain.report.page.markup import Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sections.counts import Counts
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import folded
from lightning_posttrain.report.page.wording import between, figure, percent, plain

SHARES = {
    "accuracy", "balanced_accuracy", "top_5_accuracy", "exact_match", "hamming_accuracy", "recall", "precision",
}  # fmt: skip
FIRST = ("accuracy", "exact_match", "hamming_accuracy", "jaccard_macro")
BESIDE = (
    "balanced_accuracy", "f1_macro", "f1", "auroc_macro", "auroc", "average_precision_macro", "top_5_accuracy",
    "log_loss", "ece",
)  # fmt: skip
SHOWN = 9
"""Sentences that are shown at once."""
MARKS = {"good": ("✓", "good"), "info": ("·", "note"), "warn": ("!", "look")}


class Said(Protocol):
    """A finding, as it is told."""

    @property
    def text(self) -> str:
        """The sentence."""

    @property
    def level(self) -> str:
        """``"good"``, ``"info"`` or ``"warn"``."""

    @property
    def anchor(self) -> str:
        """The section that shows it."""


def in_short(sources: Sources, findings: Sequence[Said], anchors: Sequence[str]) -> Section:
    """The first screen.

    Args:
        sources: files of the stage.
        findings: in the order in which they are told.
        anchors: of the other sections of the page, to which findings may link.
    """
    report = sources.record("classification_report")
    counts = Counts.beside(sources)
    shown = [_headline(report, counts), _found(findings, anchors)]
    body = (element("div", shown, class_="short"), *_figures(report))
    return Section("in-short", "In short", "In short", body)


def _headline(report: dict[str, Any], counts: Counts | None) -> Markup | None:
    name = next((name for name in FIRST if report.get(name) is not None), None)
    if name is None:
        return None
    value, (low, high) = report[name], (report.get("intervals") or {}).get(name) or (None, None)
    said = plain(name)
    if counts is not None and name == "accuracy":
        low, high = accuracy_interval(report, counts.right, counts.rows) if low is not None else (None, None)
        said = f"{counts.right:,} of {counts.rows:,} right"
    ends = f"95 % interval {between(low, high)}" if low is not None else None
    return element(
        "div",
        element("p", percent(value), class_="big"),
        element("p", said, class_="of"),
        _scale(value, low, high, _always(counts)),
        element("p", ends, class_="quiet") if ends else None,
        _compared(counts) if name == "accuracy" else None,
        class_="headline",
    )


def _always(counts: Counts | None) -> float | None:
    return max(counts.support) / counts.rows if counts else None


def _compared(counts: Counts | None) -> Markup | None:
    base = _always(counts)
    return (base and element("p", f"Always saying the most frequent class: {percent(base)}", class_="quiet")) or None


def _scale(value: float, low: float | None, high: float | None, base: float | None) -> Markup:
    """From 0 to 100 %: where the model is, how sure that is, and where no model at all would be."""
    width = 240
    shapes = [
        element("rect", x=0, y=9, width=width, height=6, rx=3, class_="track"),
        element("rect", x=0, y=9, width=round(width * value, 1), height=6, rx=3, class_="fill"),
    ]
    if low is not None and high is not None:
        shapes.append(element("line", x1=round(width * low, 1), x2=round(width * high, 1), y1=12, y2=12, class_="ends"))
    if base is not None:
        x = round(width * base, 1)
        shapes.append(element("line", x1=x, x2=x, y1=4, y2=20, class_="base"))
    return element("svg", shapes, viewBox=f"0 0 {width} 24", width=width, height=24, class_="scale", aria_hidden="true")


def _found(findings: Sequence[Said], anchors: Sequence[str]) -> Markup:
    items = [_item(finding, anchors) for finding in findings]
    if not items:
        return element("p", "No rule found anything to say of this stage.", class_="quiet")
    first, rest = items[:SHOWN], items[SHOWN:]
    more = folded(f"{len(rest)} more", element("ol", rest, class_="found")) if rest else None
    return element("div", element("ol", first, class_="found"), more)


def _item(finding: Said, anchors: Sequence[str]) -> Markup:
    mark, look = MARKS.get(finding.level, MARKS["info"])
    text = element("a", finding.text, href=f"#{finding.anchor}") if finding.anchor in anchors else finding.text
    return element("li", element("span", mark, class_="mark", aria_hidden="true"), element("span", text), class_=look)


def _figures(report: dict[str, Any]) -> Iterator[Markup]:
    """Figures beside the first one, each with its interval."""
    intervals = report.get("intervals") or {}
    known = [name for name in BESIDE if isinstance(report.get(name), float)][:6]
    items = []
    for name in known:
        low, high = intervals.get(name) or (None, None)
        share = name in SHARES
        within = between(low, high) if share else f"{figure(low)} to {figure(high)}" if low is not None else ""
        value = percent(report[name]) if share else figure(report[name])
        items.append(
            element("div", element("dt", plain(name)), element("dd", value, element("small", within or "\u00a0")))
        )
    if items:
        yield element("dl", items, class_="figures")
