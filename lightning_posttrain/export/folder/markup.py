"""Text of others in YAML and Markdown: any characters, nothing that ends a cell, a line or a document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_CELL = 120
_WORD = re.compile(r"[A-Za-z]+([_-]?[A-Za-z0-9]+)*", re.ASCII)
_RESERVED = {"true", "false", "null", "none", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
_MARKUP = re.compile(r"[\\`*{}\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#+-]")


def yaml_lines(value: Mapping[str, Any] | Sequence[Any], indent: str = "") -> list[str]:
    r"""Lines of YAML of a mapping or a list, with strings in double quotes where they are no plain words.

    Example:
        >>> print("\n".join(yaml_lines({"tags": ["a: b"], "rows": 1, "of": {"x": None}})))
        tags:
          - "a: b"
        rows: 1
        of:
          x: null
    """
    pairs = [(f"{scalar(key)}:", item) for key, item in value.items()] if isinstance(value, Mapping) else None
    lines: list[str] = []
    for head, item in pairs if pairs is not None else [("-", item) for item in value]:
        if isinstance(item, (Mapping, list, tuple)) and item:
            inner = yaml_lines(item, indent + "  ")
            if head == "-":
                lines += [f"{indent}- {inner[0].lstrip()}", *inner[1:]]
            else:
                lines += [f"{indent}{head}", *inner]
        else:
            lines.append(f"{indent}{head} {scalar(item)}")
    return lines


def scalar(value: Any) -> str:
    """One value as YAML, which takes JSON but for characters that it does not print, and pairs of surrogates."""
    if isinstance(value, (Mapping, list, tuple)):
        return "{}" if isinstance(value, Mapping) else "[]"
    if isinstance(value, float):
        # YAML 1.1, as PyYAML reads it, takes 1e-05 for a string
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa if '.' in mantissa or not e else f'{mantissa}.0'}{e}{exponent}"
    if not isinstance(value, str):
        return json.dumps(value)
    if _WORD.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    text = json.dumps(value.encode("utf-8", errors="replace").decode(), ensure_ascii=False)
    return "".join(c if c.isprintable() and c != "\ufeff" else f"\\U{ord(c):08x}" for c in text)


def cell(value: Any, *, longest: int = LONGEST_CELL) -> str:
    r"""One cell of a Markdown table, or a part of a line, in which nothing is markup.

    Example:
        >>> cell("a|b\n---"), cell(0.25), cell(None)
        ('a\\|b ---', '0.25', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value).encode("utf-8", errors="replace").decode()
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return _MARKUP.sub(r"\\\g<0>", text)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns)]
    written = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*written, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])
