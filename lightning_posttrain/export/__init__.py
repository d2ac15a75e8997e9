"""Export: what is shipped gives the answers that were tested.

``program`` makes one module of preprocessing, network, calibration and decision, and traces it; ``formats`` write it as
files; ``parity`` compares these with the module that was tested, and decides which are kept; ``folder`` writes them,
with a manifest, whole or not at all. ``predictor`` runs a folder with NumPy and onnxruntime alone, ``drift`` says
whether what it is asked is like what it was tested on. A new format is a class in ``formats`` and a line in its table.
"""

from __future__ import annotations

from lightning_posttrain.export.drift_reference import DriftReference, DriftReferenceBuilder
from lightning_posttrain.export.drift_watch import DriftWatch
from lightning_posttrain.export.onnx_signature import onnx_signature
from lightning_posttrain.export.signature import Signature, TensorSpec

__all__ = [
    "DriftReference",
    "DriftReferenceBuilder",
    "DriftWatch",
    "Signature",
    "TensorSpec",
    "onnx_signature",
]
