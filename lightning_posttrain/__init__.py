"""Lightning callbacks that evaluate and explain a classifier on every validation and test.

Synopsis::

    from lightning.pytorch import Trainer
    from lightning_posttrain import posttrain_suite

    trainer = Trainer(callbacks=posttrain_suite(class_names=["cat", "dog"]))
    trainer.fit(model, datamodule)
    trainer.test(model, datamodule)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.__about__ import __version__
from lightning_posttrain.core.lazy import lazily

if TYPE_CHECKING:
    from lightning_posttrain.calibration import Calibration
    from lightning_posttrain.classification import (
        ClassificationMetrics,
        ConfusionMatrix,
        GeneralizationGap,
        ScoreCurves,
        StreamCallback,
    )
    from lightning_posttrain.ensembles import CheckpointEnsemble
    from lightning_posttrain.explanations import Explanations, Surrogate
    from lightning_posttrain.export import ModelExport
    from lightning_posttrain.feature_maps import FeatureMaps
    from lightning_posttrain.hard_examples import HardExampleMining, HardExamples, HardExampleSampler
    from lightning_posttrain.label_errors import LabelErrors
    from lightning_posttrain.profile import ModelProfile
    from lightning_posttrain.saliency import SaliencyMaps
    from lightning_posttrain.suite import posttrain_suite
    from lightning_posttrain.thresholds import DecisionThresholds
    from lightning_posttrain.torchmetrics import TorchMetrics

__all__ = [
    "Calibration",
    "CheckpointEnsemble",
    "ClassificationMetrics",
    "ConfusionMatrix",
    "DecisionThresholds",
    "Explanations",
    "FeatureMaps",
    "GeneralizationGap",
    "HardExampleMining",
    "HardExampleSampler",
    "HardExamples",
    "LabelErrors",
    "ModelExport",
    "ModelProfile",
    "SaliencyMaps",
    "ScoreCurves",
    "StreamCallback",
    "Surrogate",
    "TorchMetrics",
    "__version__",
    "posttrain_suite",
]

# imported when first asked for, so that the functional parts load without Lightning
__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.calibration": [
            "Calibration",
        ],
        "lightning_posttrain.classification": [
            "ClassificationMetrics",
            "ConfusionMatrix",
            "GeneralizationGap",
            "ScoreCurves",
            "StreamCallback",
        ],
        "lightning_posttrain.ensembles": [
            "CheckpointEnsemble",
        ],
        "lightning_posttrain.explanations": [
            "Explanations",
            "Surrogate",
        ],
        "lightning_posttrain.export": [
            "ModelExport",
        ],
        "lightning_posttrain.feature_maps": [
            "FeatureMaps",
        ],
        "lightning_posttrain.hard_examples": [
            "HardExampleMining",
            "HardExampleSampler",
            "HardExamples",
        ],
        "lightning_posttrain.label_errors": [
            "LabelErrors",
        ],
        "lightning_posttrain.profile": [
            "ModelProfile",
        ],
        "lightning_posttrain.saliency": [
            "SaliencyMaps",
        ],
        "lightning_posttrain.suite": [
            "posttrain_suite",
        ],
        "lightning_posttrain.thresholds": [
            "DecisionThresholds",
        ],
        "lightning_posttrain.torchmetrics": [
            "TorchMetrics",
        ],
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
