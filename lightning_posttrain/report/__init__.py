"""One page that tells the story of a run, made from the files in its folder alone."""

from __future__ import annotations

from lightning_posttrain.report.closing import at_a_glance, in_short, told

__all__ = ["at_a_glance", "in_short", "told"]
