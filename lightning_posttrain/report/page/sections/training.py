"""Training at a glance: curves over the epochs, training and validation in one plot each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lightning_posttrain.report.page.figures import Frame, Line, lines, span
from lightning_posttrain.report.page.markup import Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import chart, under
from lightning_posttrain.report.page.wording import figure, plain

ANCHOR = "training"
MOST = 6
FIRST = (
    "loss", "log_loss", "accuracy", "exact_match", "balanced_accuracy", "f1_macro", "auroc_macro", "ece",
)  # fmt: skip
LOOKS = {"val": "main", "train": "beside"}
Curves = dict[str, dict[str, list[tuple[float, float]]]]


def training(sources: Sources) -> Section | None:
    """Up to six plots, those that both stages have first."""
    curves = _curves(sources)
    shown = sorted((name for name in curves if _epochs(curves[name]) > 1), key=lambda name: _place(name, curves))[:MOST]
    if not shown:
        return None
    plots = [_plot(name, curves[name]) for name in shown]
    body = [_legend(curves, shown), element("div", plots, class_="plots")]
    left = sum(_epochs(each) > 1 for each in curves.values()) - len(shown)
    if left:
        body.append(element("p", f"{left} more in history.jsonl.", class_="quiet"))
    return Section(ANCHOR, "How did training go?", "Training", tuple(body))


def _curves(sources: Sources) -> Curves:
    """By quantity and stage, epochs and values."""
    found: Curves = {}
    for line in sources.folder.history():
        stage = line.get("stage")
        if stage in LOOKS and isinstance(line.get("metrics"), dict):
            for name, value in line["metrics"].items():
                if isinstance(value, (int, float)) and isinstance(line.get("epoch"), (int, float)):
                    found.setdefault(name, {}).setdefault(stage, []).append((line["epoch"], value))
    for name, each in _of_gap(sources).items():
        found[name] = {**each, **found.get(name, {})}
    return _without_twins(found)


def _of_gap(sources: Sources) -> Curves:
    """Curves of a gap have both stages, of figures that a training step may not log itself."""
    record = sources.folder.record("gap", "history") or {}
    found: Curves = {}
    for name, rows in (record.get("history") or {}).items():
        for stage in LOOKS:
            points = [(row["epoch"], row[stage]) for row in rows if row.get(stage) is not None]
            found.setdefault(name, {})[stage] = points
    return found


def _without_twins(curves: Curves) -> Curves:
    """One of those with the same course on validation, as a loss that the module logs and the log loss."""
    kept: Curves = {}
    courses = set()
    for name in sorted(curves, key=lambda name: _place(name, curves)):
        course = tuple((epoch, round(value, 5)) for epoch, value in curves[name].get("val", ()))
        if not course or course not in courses:
            kept[name] = curves[name]
        courses.add(course)
    return kept


def _epochs(each: Mapping[str, Sequence[tuple[float, float]]]) -> int:
    return max((len({epoch for epoch, _ in points}) for points in each.values()), default=0)


def _place(name: str, curves: Curves) -> tuple[bool, int, str]:
    return len(curves[name]) < 2, FIRST.index(name) if name in FIRST else len(FIRST), name


def _plot(name: str, each: Mapping[str, Sequence[tuple[float, float]]]) -> Markup:
    epochs = [epoch for points in each.values() for epoch, _ in points]
    values = [value for points in each.values() for _, value in points]
    frame = Frame((min(epochs), max(epochs)), span(values), step=1.0)
    ends = ", ".join(f"{stage} {figure(points[-1][1])}" for stage, points in each.items() if points)
    said = f"{plain(name)} over epochs {min(epochs):g} to {max(epochs):g}; last: {ends}."
    curves = [Line(stage, each[stage], LOOKS[stage]) for stage in reversed(LOOKS) if each.get(stage)]
    drawing = frame.drawn(said, "epoch", lines(frame, curves))
    caption = (element("b", plain(name)), " ", element("span", ends, class_="quiet"))
    return chart(drawing, caption, under(("epoch", *each), _rows(each), f"{plain(name)} by epoch"))


def _rows(each: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[tuple[str, ...]]:
    by_stage = {stage: dict(points) for stage, points in each.items()}
    for epoch in sorted({epoch for points in by_stage.values() for epoch in points}):
        yield f"{epoch:g}", *(figure(points.get(epoch)) for points in by_stage.values())


def _legend(curves: Curves, shown: Sequence[str]) -> Markup:
    words = {"val": "validation", "train": "training"}
    there = [stage for stage in LOOKS if any(curves[name].get(stage) for name in shown)]
    items = [element("span", element("i", class_=f"key {LOOKS[stage]}"), words[stage]) for stage in there]
    return element("p", items, class_="legend")
