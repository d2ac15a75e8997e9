"""Every result: the pages that say all that the package can tell.

A result is data without a picture: frozen, on the CPU, with figures for curves and plain data for JSON.
"""

from lightning_posttrain.results.abstention import RiskCoverage
from lightning_posttrain.results.base import Counted, Result, listed, undefined_to_none
from lightning_posttrain.results.calibration import CalibrationFigures, CalibrationReport
from lightning_posttrain.results.classification import ClassificationReport
from lightning_posttrain.results.confusion import ClassCounts, ConfusedPair, Confusion, LabelConfusion
from lightning_posttrain.results.curves import CurveReport
from lightning_posttrain.results.explained import Explained
from lightning_posttrain.results.gap import GapHistory, Pair
from lightning_posttrain.results.hard import HardExample, HardGroup, HardReport
from lightning_posttrain.results.history import Events, LabelErrors, SampleHistory
from lightning_posttrain.results.interpretation import (
    Condition,
    Importance,
    LimeWeights,
    Rule,
    ShapleyValues,
)
from lightning_posttrain.results.saliency import ClassMeans, Faithfulness, Kind, Saliency, Sample
from lightning_posttrain.results.scores import Areas, Losses, Ranks, Reliability, ScoreCounts, ScoreRows
from lightning_posttrain.results.surrogate import Branch, Drop, SurrogateReport
from lightning_posttrain.results.thresholds import ObjectiveCurve, Operating, ThresholdReport
from lightning_posttrain.results.values import MetricValues

__all__ = [
    "Areas",
    "Branch",
    "CalibrationFigures",
    "CalibrationReport",
    "ClassCounts",
    "ClassMeans",
    "ClassificationReport",
    "Condition",
    "ConfusedPair",
    "Confusion",
    "Counted",
    "CurveReport",
    "Drop",
    "Events",
    "Explained",
    "Faithfulness",
    "GapHistory",
    "HardExample",
    "HardGroup",
    "HardReport",
    "Importance",
    "Kind",
    "LabelConfusion",
    "LabelErrors",
    "LimeWeights",
    "Losses",
    "MetricValues",
    "ObjectiveCurve",
    "Operating",
    "Pair",
    "Ranks",
    "Reliability",
    "Result",
    "RiskCoverage",
    "Rule",
    "Saliency",
    "Sample",
    "SampleHistory",
    "ScoreCounts",
    "ScoreRows",
    "ShapleyValues",
    "SurrogateReport",
    "ThresholdReport",
    "listed",
    "undefined_to_none",
]
