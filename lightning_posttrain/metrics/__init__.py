"""What is accumulated over an epoch: ``torchmetrics.Metric`` subclasses whose states sum across ranks."""

from lightning_posttrain.metrics.base import EvaluationMetric
from lightning_posttrain.metrics.confusion import ConfusionCounts

__all__ = ["ConfusionCounts", "EvaluationMetric"]
