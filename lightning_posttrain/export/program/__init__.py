"""From what a step does to one module of named tensors, and its trace.

``entry`` makes a module of a network's call, ``deployed`` sets preprocessing, calibration and decision around it,
``tracing`` makes an exported program of a copy, ``refusals`` says why that cannot be done, and what does not belong in
a program that is served.
"""

from __future__ import annotations

from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.program.entry import Entry, entry_by, entry_of
from lightning_posttrain.export.program.refusals import CannotExportError
from lightning_posttrain.export.program.suspicions import suspicions
from lightning_posttrain.export.program.tracing import Traced, traced

__all__ = ["CannotExportError", "Deployed", "Entry", "Traced", "entry_by", "entry_of", "suspicions", "traced"]
