"""Export: what is shipped gives the answers that were tested.

``program`` makes one module of preprocessing, network, calibration and decision, and traces it; ``formats`` write it as
files; ``parity`` compares these with the module that was tested, and decides which are kept; ``folder`` writes them,
with a manifest, whole or not at all. ``predictor`` runs a folder with NumPy and onnxruntime alone, ``drift`` says
whether what it is asked is like what it was tested on. A new format is a class in ``formats`` and a line in its table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from lightning_posttrain.export.answers import Answers
    from lightning_posttrain.export.folder.check_report import CheckReport
    from lightning_posttrain.export.folder.checking import check
    from lightning_posttrain.export.predictor import Predictor, load

__all__ = [
    "Answers",
    "CheckReport",
    "Decision",
    "Manifest",
    "Predictor",
    "Signature",
    "TensorSpec",
    "check",
    "load",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.export.answers": ["Answers"],
        "lightning_posttrain.export.folder.check_report": ["CheckReport"],
        "lightning_posttrain.export.folder.checking": ["check"],
        "lightning_posttrain.export.predictor": ["Predictor", "load"],
    },
)
