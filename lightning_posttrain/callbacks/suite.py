"""The suite: one line for a Trainer."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from lightning_posttrain.callbacks.calibration import Calibration
from lightning_posttrain.callbacks.classification import ClassificationMetrics
from lightning_posttrain.callbacks.confusion import ConfusionMatrix
from lightning_posttrain.callbacks.curves import ScoreCurves
from lightning_posttrain.callbacks.hard import HardExamples
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.callbacks.saliency import SaliencyMaps
from lightning_posttrain.callbacks.thresholds import DecisionThresholds


def posttrain_suite(**options: Unpack[EvaluationOptions]) -> list[Any]:
    """The callbacks that a classifier wants, with working defaults.

    Nothing needs to be said: the number of classes, their names (from the dataset's ``classes``) and the image
    layout are told from the first batch, before training where Lightning's sanity check runs.

    Args:
        **options: ``class_names``, ``num_classes``, ``task`` (``"multiclass"``, ``"binary"`` or ``"multilabel"``),
            ``scores`` (``"logits"`` or ``"probabilities"``), ``scores_fn(outputs, batch)``, ``target_fn(batch)``,
            ``inputs_fn(batch)``, ``ignore_index``, ``stages`` (of ``"train"``, ``"val"`` and ``"test"``), ``on_error``
            (``"warn"`` or ``"raise"``); each is said on ``StreamCallback``.

    Returns:
        ``ClassificationMetrics``, ``ConfusionMatrix``, ``ScoreCurves``, ``Calibration``, ``DecisionThresholds``,
        ``HardExamples`` and ``SaliencyMaps``; take the list apart to set their own arguments.

    Example:
        >>> [type(callback).__name__ for callback in posttrain_suite()[3:]]
        ['Calibration', 'DecisionThresholds', 'HardExamples', 'SaliencyMaps']
    """
    return [
        ClassificationMetrics(**options),
        ConfusionMatrix(**options),
        ScoreCurves(**options),
        Calibration(**options),
        DecisionThresholds(**options),
        HardExamples(**options),
        SaliencyMaps(**options),
    ]
