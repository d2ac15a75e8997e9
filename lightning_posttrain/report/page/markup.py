"""HTML and SVG from functions: whatever is no markup already is text, and is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

VOID = {"br", "img", "input", "meta"}
"""Elements that HTML gives no end."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Markup | Iterable[Child] | None"
Value: TypeAlias = "str | int | float | bool | None"


def element(name: str, /, *children: Child, **attributes: Value) -> Markup:
    """An element; names of attributes may end in an underscore, and others stand for hyphens.

    Args:
        name: of the element.
        *children: markup as it is, anything else as text; None is left out.
        **attributes: True for one without a value; None and False are left out.

    Example:
        >>> element("p", "1 < 2 ", element("b", "so"), class_="lead", hidden=False)
        '<p class="lead">1 &lt; 2 <b>so</b></p>'
    """
    said = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    inside = "" if name in VOID else f"{joined(children)}</{name}>"
    return Markup(f"<{name}{said}>{inside}")


def joined(children: Child) -> Markup:
    """All children behind each other.

    Example:
        >>> joined(["a & b", None, 3])
        'a &amp; b3'
    """
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, (str, int, float)):
        return Markup(escape(str(children)))
    return Markup("".join(joined(child) for child in children))


def _attribute(key: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
