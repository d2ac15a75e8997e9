"""Classification: from class scores to figures, matrices and curves, multiclass, binary, multilabel, segmentation.

``reading`` says how a step becomes a batch: ``score_finder`` finds the scores, ``tasks`` brings them to logits,
``batch`` and ``rows`` are what metrics read. ``metric`` accumulates, ``functional`` computes, ``result`` holds,
``render`` draws, ``callback`` has what users pass to a Trainer. A new curve is a file ``curves`` of each of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.bootstrap import interval
from lightning_posttrain.classification.functional.class_figures import class_figures, f_name
from lightning_posttrain.classification.functional.confusion import add_confusion, most_confused
from lightning_posttrain.classification.functional.pairing import PairedAccuracy, paired_accuracy
from lightning_posttrain.classification.functional.ranking import (
    auroc,
    average_precision,
    precision_recall_curve,
    roc_curve,
)
from lightning_posttrain.classification.functional.reliability import ROUNDING, bin_of_probability
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.result.confusion import ClassCounts, ConfusedPair, Confusion
from lightning_posttrain.classification.result.predictions import Predictions
from lightning_posttrain.classification.result.scores import ScoreRows
from lightning_posttrain.classification.rows import LOSS
from lightning_posttrain.classification.tasks import TASKS, ScoreKind, Task
from lightning_posttrain.core.lazy import lazily

if TYPE_CHECKING:
    from lightning_posttrain.classification.callback.base import (
        EvaluationOptions,
        SampleOptions,
        ShownOptions,
        StreamCallback,
    )
    from lightning_posttrain.classification.callback.confusion import ConfusionMatrix
    from lightning_posttrain.classification.callback.curves import ScoreCurves
    from lightning_posttrain.classification.callback.gap import GeneralizationGap
    from lightning_posttrain.classification.callback.metrics import ClassificationMetrics
    from lightning_posttrain.classification.metric.base import EvaluationMetric
    from lightning_posttrain.classification.metric.confusion import ConfusionCounts
    from lightning_posttrain.classification.metric.probabilities import LossSums, ReliabilityBins
    from lightning_posttrain.classification.metric.sample import ScoreSample
    from lightning_posttrain.classification.reading import ClassReading
    from lightning_posttrain.classification.render.confusion import confusion_image

__all__ = [
    "LOSS",
    "ROUNDING",
    "TASKS",
    "ClassCounts",
    "ClassReading",
    "ClassificationMetrics",
    "ConfusedPair",
    "Confusion",
    "ConfusionCounts",
    "ConfusionMatrix",
    "EvalBatch",
    "EvaluationMetric",
    "EvaluationOptions",
    "Findings",
    "GeneralizationGap",
    "LossSums",
    "PairedAccuracy",
    "Predictions",
    "ReliabilityBins",
    "SampleOptions",
    "ScoreCurves",
    "ScoreKind",
    "ScoreRows",
    "ScoreSample",
    "ShownOptions",
    "StreamCallback",
    "Task",
    "add_confusion",
    "auroc",
    "average_precision",
    "bin_of_probability",
    "class_figures",
    "classification_report",
    "confusion_image",
    "f_name",
    "interval",
    "most_confused",
    "paired_accuracy",
    "precision_recall_curve",
    "roc_curve",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.classification.callback.base": [
            "EvaluationOptions",
            "SampleOptions",
            "ShownOptions",
            "StreamCallback",
        ],
        "lightning_posttrain.classification.callback.confusion": [
            "ConfusionMatrix",
        ],
        "lightning_posttrain.classification.callback.curves": [
            "ScoreCurves",
        ],
        "lightning_posttrain.classification.callback.gap": [
            "GeneralizationGap",
        ],
        "lightning_posttrain.classification.callback.metrics": [
            "ClassificationMetrics",
        ],
        "lightning_posttrain.classification.metric.base": [
            "EvaluationMetric",
        ],
        "lightning_posttrain.classification.metric.confusion": [
            "ConfusionCounts",
        ],
        "lightning_posttrain.classification.metric.probabilities": [
            "LossSums",
            "ReliabilityBins",
        ],
        "lightning_posttrain.classification.metric.sample": [
            "ScoreSample",
        ],
        "lightning_posttrain.classification.reading": [
            "ClassReading",
        ],
        "lightning_posttrain.classification.render.confusion": [
            "confusion_image",
        ],
    },
)
