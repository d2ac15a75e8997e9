"""A sentence of "in short"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

Level = Literal["good", "info", "warn"]
ALPHA = 0.01
"""What a rule that may warn says falsely in one run of a hundred at most, all its comparisons together."""
FEW = 30
"""Rows below which nothing is concluded."""


@final
@dataclass(frozen=True)
class Finding:
    """A conclusion in words.

    Args:
        text: a sentence or two, with the number, its interval and its rows.
        rule: short name of the rule that it follows, as ``"pairs"``.
        level: whether it is good, worth knowing, or something to act on.
        anchor: id of the section of the report that shows it.
        file: the file that has more, relative to the ``posttrain`` folder, or None.
        numbers: the figures in the sentence, by name.
    """

    text: str
    rule: str
    level: Level
    anchor: str
    file: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
