"""Can it be believed: whether what it promises comes true, and what is left of the errors if unsure rows wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_posttrain.report.page.figures import Frame, Line, diagonal, lines, whisker_dots
from lightning_posttrain.report.page.markup import Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import chart, table, under
from lightning_posttrain.report.page.wording import DASH, between, figure, interval, percent, sentence

ANCHOR = "believed"
POINTS = 120
FIRST = 0.9
"""Share of rows that get an answer where the slider stands first."""


def believed(sources: Sources) -> Section | None:
    """Reliability before and after calibration, and risk by coverage."""
    calibration, thresholds = sources.record("calibration"), sources.record("thresholds")
    curve = thresholds.get("abstention") or thresholds
    points = _points(curve, sources) if curve.get("coverage") else []
    body = [*_calibration(calibration, sources), *_coverage(points), *_labels(thresholds)]
    if not body:
        return None
    data = {"answered": [point.words for point in points]} if points else {}
    return Section(ANCHOR, "Can its probabilities be believed?", "Trust", tuple(body), data=data)


def _calibration(record: Mapping[str, Any], sources: Sources) -> Iterator[Markup]:
    if not record.get("before"):
        return
    before, after = record["before"], record.get("after")
    said = [record.get("words"), record.get("reason"), *(record.get("notes") or ())]
    words = " ".join(dict.fromkeys(sentence(str(text)) for text in said if text))
    yield element("p", words) if words else element("p", "As the model says it.")
    plots = [_reliability("as it is" if after else "", before, ends=sources.independent)]
    if after:
        plots.append(_reliability("after calibration", after, ends=sources.independent))
    yield element("div", plots, class_="plots")


def _reliability(title: str, record: Mapping[str, Any], *, ends: bool) -> Markup:
    dots, rows, most = [], [], max(record["rows"], default=0)
    bins = zip(record["rows"], record["confidence"], record["accuracy"], strict=True)
    for count, promised, true in bins:
        if count and promised is not None and true is not None:
            low, high = interval(round(true * count), count) if ends else (true, true)
            dots.append((promised, true, low, high, count / most))
            rows.append((percent(promised), percent(true), between(low, high) if ends else DASH, f"{count:,}"))
    off = f"{100 * record['ece']:.1f} points"
    said = f"Of what it is sure of, how much comes true{', ' + title if title else ''}: off by {off} on average."
    frame = Frame((0.0, 1.0), (0.0, 1.0), 360, 320)
    drawing = frame.drawn(said, "how sure it is", diagonal(frame), whisker_dots(frame, dots), tick="%")
    head = f"{title.capitalize()}: off by {off}" if title else f"Off by {off} on average"
    columns = ("promised", "came true", "95 % interval", "rows")
    whiskers = ", whiskers 95 % intervals" if ends else ""
    note = element("p", f"Dots by their rows{whiskers}; on the line what is promised comes true.", class_="quiet")
    return chart(drawing, element("b", head), note, under(columns, rows, head))


def _coverage(points: Sequence[_Point]) -> Iterator[Markup]:
    if not points:
        return
    frame = Frame((0.0, 1.0), (0.0, min(max(max(point.risk for point in points) * 1.08, 0.02), 1.0)), 520, 230)
    at = min(range(len(points)), key=lambda place: abs(points[place].coverage - FIRST))
    said = f"Errors among the surest rows: {points[at].words}"
    line = Line("errors", [(point.coverage, point.risk) for point in points])
    drawing = frame.drawn(said, "rows that get an answer", lines(frame, [line]), tick="%")
    slider = element(
        "input", type="range", min=0, max=len(points) - 1, value=at, id="coverage", aria_describedby="answered"
    )
    yield element("h3", "If unsure rows may wait for a person")
    picks = points[:: max(len(points) // 10, 1)]
    rows = [(percent(each.coverage), percent(each.risk, 1), percent(each.least, 1)) for each in picks]
    yield chart(
        drawing, element("b", "Errors among the rows that get an answer"),
        element("p", element("label", "How many get an answer ", slider), class_="tools"),
        element("p", points[at].words, id="answered", role="status"),
        under(("answered", "wrong among them", "sure by at least"), rows, "Errors by answered rows"),
    )  # fmt: skip


@dataclass(frozen=True)
class _Point:
    """What is left of the errors where so many rows get an answer, and that in a sentence."""

    coverage: float
    risk: float
    least: float
    words: str


def _points(curve: Mapping[str, Any], sources: Sources) -> list[_Point]:
    """So many points of the curve, spread evenly, with its last."""
    count, rows = len(curve["coverage"]), curve.get("rows") or 0
    places = {round(at * (count - 1) / (POINTS - 1)) for at in range(POINTS)} if count > POINTS else range(count)
    found = []
    for place in sorted(places):
        coverage, risk, least = (float(curve[name][place] or 0.0) for name in ("coverage", "risk", "threshold"))
        answered = round(coverage * rows)
        ends = between(*interval(round(risk * answered), answered))
        within = f" (95 % interval {ends} of {answered:,})" if sources.independent else ""
        words = (
            f"Answer where it is sure by at least {percent(least, 1)}: {percent(coverage)} of rows get an answer, "
            f"{percent(risk, 1)} of these are wrong{within}."
        )
        found.append(_Point(coverage, risk, least, words))
    return found


def _labels(record: Mapping[str, Any]) -> Iterator[Markup]:
    """Thresholds that were chosen for labels, beside those of 0.5."""
    default, tuned = record.get("default"), record.get("tuned")
    if not default:
        return
    yield element("h3", "Thresholds")
    if tuned:
        columns = ("", "threshold", f"{record.get('objective', 'objective')} at 0.5", "at the threshold")
        each = zip(record["class_names"], tuned["threshold"], default["objective"], tuned["objective"], strict=True)
        yield table(
            columns, [(str(name), figure(at), figure(half), figure(there)) for name, at, half, there in list(each)[:60]]
        )
    yield element("p", " ".join(sentence(str(text)) for text in record.get("notes") or ()), class_="quiet")
