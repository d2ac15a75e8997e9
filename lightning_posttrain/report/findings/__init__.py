"""Conclusions in words from the records of a run: a room for each kind of rule, their order in ``ranking``."""

from __future__ import annotations

from lightning_posttrain.report.findings.finding import Finding
from lightning_posttrain.report.findings.ranking import SHOWN, findings, headline

__all__ = ["SHOWN", "Finding", "findings", "headline"]
