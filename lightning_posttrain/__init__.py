"""Lightning callbacks that evaluate and explain a classifier on every validation and test.

Synopsis::

    from lightning.pytorch import Trainer
    from lightning_posttrain import posttrain_suite

    trainer = Trainer(callbacks=posttrain_suite(class_names=["cat", "dog"]))
    trainer.fit(model, datamodule)
    trainer.test(model, datamodule)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lightning_posttrain.__about__ import __version__

if TYPE_CHECKING:
    from lightning_posttrain.callbacks.base import StreamCallback
    from lightning_posttrain.callbacks.calibration import Calibration
    from lightning_posttrain.callbacks.classification import ClassificationMetrics
    from lightning_posttrain.callbacks.confusion import ConfusionMatrix
    from lightning_posttrain.callbacks.curves import ScoreCurves
    from lightning_posttrain.callbacks.explanations import Explanations
    from lightning_posttrain.callbacks.gap import GeneralizationGap
    from lightning_posttrain.callbacks.hard import HardExamples
    from lightning_posttrain.callbacks.label_errors import LabelErrors
    from lightning_posttrain.callbacks.mining import HardExampleMining
    from lightning_posttrain.callbacks.saliency import SaliencyMaps
    from lightning_posttrain.callbacks.suite import posttrain_suite
    from lightning_posttrain.callbacks.surrogate import Surrogate
    from lightning_posttrain.callbacks.thresholds import DecisionThresholds
    from lightning_posttrain.callbacks.torchmetrics import TorchMetrics
    from lightning_posttrain.sampling import HardExampleSampler

__all__ = [
    "Calibration",
    "ClassificationMetrics",
    "ConfusionMatrix",
    "DecisionThresholds",
    "Explanations",
    "GeneralizationGap",
    "HardExampleMining",
    "HardExampleSampler",
    "HardExamples",
    "LabelErrors",
    "SaliencyMaps",
    "ScoreCurves",
    "StreamCallback",
    "Surrogate",
    "TorchMetrics",
    "__version__",
    "posttrain_suite",
]

# imported when first asked for, so that the functional parts load without Lightning
_HOMES = {
    "Calibration": "lightning_posttrain.callbacks.calibration",
    "ClassificationMetrics": "lightning_posttrain.callbacks.classification",
    "ConfusionMatrix": "lightning_posttrain.callbacks.confusion",
    "DecisionThresholds": "lightning_posttrain.callbacks.thresholds",
    "Explanations": "lightning_posttrain.callbacks.explanations",
    "GeneralizationGap": "lightning_posttrain.callbacks.gap",
    "HardExampleMining": "lightning_posttrain.callbacks.mining",
    "HardExampleSampler": "lightning_posttrain.sampling",
    "HardExamples": "lightning_posttrain.callbacks.hard",
    "LabelErrors": "lightning_posttrain.callbacks.label_errors",
    "SaliencyMaps": "lightning_posttrain.callbacks.saliency",
    "ScoreCurves": "lightning_posttrain.callbacks.curves",
    "StreamCallback": "lightning_posttrain.callbacks.base",
    "Surrogate": "lightning_posttrain.callbacks.surrogate",
    "TorchMetrics": "lightning_posttrain.callbacks.torchmetrics",
    "posttrain_suite": "lightning_posttrain.callbacks.suite",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
