"""Hard samples as pictures, tables and files."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_posttrain.core.output.artifacts import Cleared, Tagged
from lightning_posttrain.hard_examples.render.galleries import cells_image, group_image, pictures
from lightning_posttrain.hard_examples.render.tables import all_table, group_table
from lightning_posttrain.hard_examples.result import HardReport


def hard_examples(report: HardReport, *, tag: str, title: str) -> Iterator[Tagged]:
    """Galleries, tables, and each picture as a file.

    Args:
        report: what to draw.
        tag: what tags begin with.
        title: stands above, as ``"val"``.
    """
    # pictures of the last report go, of which there may have been more
    for name in (*(group.name for group in report.groups), "cells", "confused_pairs"):
        yield Tagged(f"{tag}/{name}", Cleared())
    for group in report.groups:
        image = group_image(report, group, title)
        if image is not None:
            yield Tagged(f"{tag}/{group.name}", image)
        if group.examples:
            yield Tagged(f"{tag}/{group.name}_samples", group_table(report, group))
    confused = cells_image(report, title)
    if confused is not None:
        yield Tagged(f"{tag}/confused_pairs", confused)
    yield Tagged(tag, all_table(report))
    for name, picture in pictures(report):
        yield Tagged(f"{tag}/{name}", picture)
