"""Classes: each with its figures, their intervals, and what it is taken for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_posttrain.report.page.figures import bar
from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sections.counts import Counts
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.wording import DASH, between, figure, interval, percent, plain

ANCHOR = "classes"
SHOWN = 20
"""Classes that stand in the page as they are; the others are put there by the script."""
FIGURES = ("recall", "precision", "f1", "auroc")
WITH_BAR = ("recall", "precision", "f1")


def classes(sources: Sources) -> Section | None:
    """A table that can be sorted, the weakest class first."""
    report = sources.record("classification_report")
    each = report.get("per_class") or []
    names = [name for name in FIGURES if any(row.get(name) is not None for row in each)]
    if not each or not names:
        return None
    rows = _rows(report, names, Counts.beside(sources))
    rows.sort(key=lambda row: (row["values"][0] is None, row["values"][0] or 0.0))
    top, rest = rows[:SHOWN], rows[SHOWN:]
    body = [_table(names, top)]
    if rest:
        body.append(element("button", f"Show all {len(rows):,} classes", type="button", id="all-classes", class_="tag"))
        body.append(
            element("p", f"{len(rest):,} more in classification_report.csv.", class_="quiet", id="more-classes")
        )
    lead = (
        "A line across a bar is the 95 % interval of that class by itself; of many classes some stand apart by chance."
    )
    data = {"rows": [[row["class"], row["support"], row["values"], row["ends"], row["taken"]] for row in rest]}
    return Section(ANCHOR, "Which classes are weak?", "Classes", tuple(body), lead, data if rest else {})


def _rows(report: Mapping[str, Any], names: list[str], counts: Counts | None) -> list[dict[str, Any]]:
    taken, ends_of = _taken_for(counts), _Ends(report.get("class_intervals") or {}, counts)
    rows = []
    for place, row in enumerate(report["per_class"]):
        within = [ends_of(figure_, row, place) if figure_ in WITH_BAR else None for figure_ in names]
        values = [None if row.get(name) is None else round(row[name], 4) for name in names]
        name = str(row.get("class"))
        rows.append(
            {
                "class": name,
                "support": row.get("support"),
                "values": values,
                "ends": within,
                "taken": taken.get(name, ""),
            }
        )
    return rows


class _Ends:
    """Intervals of figures of a class: exact ones of shares whose counts are known, else those of the record."""

    def __init__(self, recorded: Mapping[str, Any], counts: Counts | None) -> None:
        self._recorded = recorded
        self._predicted = {} if counts is None else dict(zip(counts.names, counts.predicted, strict=True))

    def __call__(self, name: str, row: Mapping[str, Any], place: int) -> tuple[float, float] | None:
        of = {"recall": row.get("support"), "precision": self._predicted.get(str(row.get("class")))}.get(name)
        if of and row.get(name) is not None and self._recorded:
            low, high = interval(round(row[name] * of), of)
            return round(low, 4), round(high, 4)
        both = self._recorded.get(name)
        if not both or place >= len(both[0]) or both[0][place] is None or both[1][place] is None:
            return None
        return round(both[0][place], 4), round(both[1][place], 4)


def _taken_for(counts: Counts | None) -> dict[str, str]:
    if counts is None:
        return {}
    cells = counts.taken_for.values()
    return {counts.names[a]: f"{counts.names[p]} ({n:,})" for a, p, n in cells}


def _table(names: list[str], rows: list[dict[str, Any]]) -> Markup:
    columns = ["class", "rows", *map(plain, names), *(["most often taken for"] if _taken(rows) else [])]
    head = [
        element("th", element("button", name, type="button", class_="plain"), scope="col", class_=_look(place, columns),
                aria_sort="ascending" if place == 2 else None)
        for place, name in enumerate(columns)
    ]  # fmt: skip
    body = [element("tr", *_cells(names, row, taken=_taken(rows))) for row in rows]
    table = element("table", element("thead", element("tr", head)), element("tbody", body), id="class-table")
    return element("div", table, class_="scroll", tabindex=0, role="group", aria_label="Figures of each class")


def _taken(rows: list[dict[str, Any]]) -> bool:
    return any(row["taken"] for row in rows)


def _look(place: int, columns: list[str]) -> str | None:
    return None if place == 0 or columns[place] == "most often taken for" else "n"


def _cells(names: list[str], row: Mapping[str, Any], *, taken: bool) -> Iterator[Markup]:
    yield element("th", row["class"], scope="row")
    support = row["support"]
    yield element("td", DASH if support is None else f"{support:,}", class_="n", data_v=support)
    for name, value, ends in zip(names, row["values"], row["ends"], strict=True):
        shown: Child = figure(value)
        if name in WITH_BAR:
            low, high = ends or (None, None)
            said = f"95 % interval {between(low, high)}" if ends else None
            shown = element("span", bar(value, low, high), element("span", percent(value)), class_="share", title=said)
        yield element("td", shown, class_="n", data_v=-1 if value is None else value)
    if taken:
        yield element("td", row["taken"], class_="taken")
