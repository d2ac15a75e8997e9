"""The document around the sections: its head, its policy, its data and its script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lightning_posttrain.core.output.quantities import size_words
from lightning_posttrain.report.page.markup import Markup, element, joined
from lightning_posttrain.report.page.section import Section

SIZE = "@@@@@@@@"
"""Stands for the page's own size until it is known."""


def document(title: str, head: Markup, sections: Sequence[Section]) -> bytes:
    """The whole page.

    Args:
        title: of the window.
        head: what stands above all sections.
        sections: in their order.
    """
    style, script = asset("page.css"), asset("page.js")
    data = {section.anchor: section.data for section in sections if section.data}
    page = joined([
        Markup('<!doctype html>\n<html lang="en">'),
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            element("style", Markup(style)),
        ),
        element("body", _body(head, sections), _data(data), element("script", Markup(script))),
        Markup("</html>\n"),
    ])  # fmt: skip
    size = size_words(len(page.encode(errors="backslashreplace"))).ljust(len(SIZE))
    return page.replace(SIZE, size).encode(errors="backslashreplace")


@cache
def asset(name: str) -> str:
    """The text of a file that the page holds whole."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _body(head: Markup, sections: Sequence[Section]) -> tuple[Markup, ...]:
    links = [element("li", element("a", section.short, href=f"#{section.anchor}")) for section in sections]
    return (
        element("a", "Skip to the findings", href=f"#{sections[0].anchor}", class_="skip"),
        head,
        element("nav", element("ol", links), aria_label="Sections"),
        element("main", [_shown(section) for section in sections]),
        element(
            "footer",
            element(
                "p", f"Made by lightning_posttrain from the files of the run; nothing here asks a network. Size: {SIZE}"
            ),
        ),
        element("dialog", id="large", aria_label="A sample"),
    )


def _shown(section: Section) -> Markup:
    heading = f"{section.anchor}-title"
    return element(
        "section",
        element("h2", section.title, id=heading),
        element("p", section.lead, class_="lead") if section.lead else None,
        section.body,
        id=section.anchor,
        aria_labelledby=heading,
    )


def _data(data: Mapping[str, Any]) -> Markup:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return element("script", Markup(text), id="data", type="application/json")


def _policy(style: str, script: str) -> str:
    """Nothing from outside, pictures as data, and no style or script but these, so that a slip does no harm."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
