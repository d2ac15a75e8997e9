"""One page that tells the story of a run, made from the files in its folder alone."""

from __future__ import annotations

from lightning_posttrain.report.command import report_command
from lightning_posttrain.report.findings import Finding, findings, headline
from lightning_posttrain.report.show import show_command

__all__ = ["Finding", "findings", "headline", "report_command", "show_command"]
