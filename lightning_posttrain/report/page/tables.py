"""Tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_posttrain.report.page.markup import Child, Markup, element


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Child]],
    caption: str = "",
    *,
    words: int = 1,
    id_: str | None = None,
) -> Markup:
    """A table that scrolls by itself where it is too wide.

    Args:
        columns: headings.
        rows: cells.
        caption: what it shows.
        words: so many columns from the left hold words, the others figures.
        id_: of the table.
    """
    looks = [None if place < words else "n" for place in range(len(columns))]
    head = [element("th", name, scope="col", class_=look) for name, look in zip(columns, looks, strict=True)]
    body = [
        element("tr", [element("td", cell, class_=look) for cell, look in zip(row, looks, strict=True)]) for row in rows
    ]
    shown = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", head)),
        element("tbody", body),
        id=id_,
    )
    return element("div", shown, class_="scroll", tabindex=0, role="group", aria_label=caption or "A table")


def folded(summary: str, *children: Child) -> Markup:
    """What is shown when asked for."""
    return element("details", element("summary", summary), children)


def under(columns: Sequence[str], rows: Iterable[Sequence[Child]], caption: str) -> Markup:
    """The figures of a drawing as a table, folded away."""
    return folded("Figures as a table", table(columns, rows, caption))


def chart(drawing: Markup, caption: Child, *below: Child) -> Markup:
    """A drawing with what it shows."""
    return element("figure", element("figcaption", caption), drawing, below, class_="chart")
