"""What is accumulated over an epoch: ``torchmetrics.Metric`` subclasses whose states sum across ranks."""

from lightning_posttrain.metrics.base import EvaluationMetric
from lightning_posttrain.metrics.confusion import ConfusionCounts
from lightning_posttrain.metrics.exact import ExactScores
from lightning_posttrain.metrics.histograms import ScoreHistograms
from lightning_posttrain.metrics.probabilities import LossSums, RankCounts, ReliabilityBins
from lightning_posttrain.metrics.sample import ScoreSample

__all__ = [
    "ConfusionCounts",
    "EvaluationMetric",
    "ExactScores",
    "LossSums",
    "RankCounts",
    "ReliabilityBins",
    "ScoreHistograms",
    "ScoreSample",
]
