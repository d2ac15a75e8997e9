"""A section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_posttrain.report.page.markup import Markup


@dataclass(frozen=True)
class Section:
    """What one section says and shows.

    Args:
        anchor: its id, to which findings link.
        title: the question that it answers.
        short: the same in a word or two, for the list of sections.
        body: what stands below the title.
        lead: a sentence on how to read it.
        data: what its script draws from, under the section's anchor.
    """

    anchor: str
    title: str
    short: str
    body: tuple[Markup, ...]
    lead: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
