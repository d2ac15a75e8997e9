"""One page that tells the story of a run, made from the files in its folder alone."""

from __future__ import annotations

from lightning_posttrain.report.closing import at_a_glance, in_short, told
from lightning_posttrain.report.findings import Finding, findings, headline
from lightning_posttrain.report.show import show_command

__all__ = ["Finding", "at_a_glance", "findings", "headline", "in_short", "show_command", "told"]
