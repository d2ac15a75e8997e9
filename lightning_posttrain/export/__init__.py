"""Export: what is shipped gives the answers that were tested.

``program`` makes one module of preprocessing, network, calibration and decision, and traces it; ``formats`` write it as
files; ``parity`` compares these with the module that was tested, and decides which are kept; ``folder`` writes them,
with a manifest, whole or not at all. ``predictor`` runs a folder with NumPy and onnxruntime alone, ``drift`` says
whether what it is asked is like what it was tested on. ``run`` does all this for ``callback``. A new format is a class
in ``formats`` and a line in its table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.drift.reference import DriftReference, DriftReferenceBuilder
from lightning_posttrain.export.drift.watch import DriftWatch
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from lightning_posttrain.export.answers import Answers
    from lightning_posttrain.export.callback import ModelExport
    from lightning_posttrain.export.folder.check_report import CheckReport
    from lightning_posttrain.export.folder.checking import check, check_command
    from lightning_posttrain.export.onnx_specs import onnx_signature
    from lightning_posttrain.export.predictor import Predictor, load
    from lightning_posttrain.export.program import CannotExportError, Deployed
    from lightning_posttrain.export.result import ExportReport, FormatParity

__all__ = [
    "Answers",
    "CannotExportError",
    "CheckReport",
    "Decision",
    "Deployed",
    "DriftReference",
    "DriftReferenceBuilder",
    "DriftWatch",
    "ExportReport",
    "FormatParity",
    "Manifest",
    "ModelExport",
    "Predictor",
    "Signature",
    "TensorSpec",
    "check",
    "check_command",
    "load",
    "onnx_signature",
]

# NumPy and onnxruntime are enough for what answers
__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.export.answers": ["Answers"],
        "lightning_posttrain.export.callback": ["ModelExport"],
        "lightning_posttrain.export.folder.check_report": ["CheckReport"],
        "lightning_posttrain.export.folder.checking": ["check", "check_command"],
        "lightning_posttrain.export.onnx_specs": ["onnx_signature"],
        "lightning_posttrain.export.predictor": ["Predictor", "load"],
        "lightning_posttrain.export.program": ["CannotExportError", "Deployed"],
        "lightning_posttrain.export.result": ["ExportReport", "FormatParity"],
    },
)
