"""Which class a record on disk is of, by the ``"kind"`` in it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lightning_posttrain.core.output.result import Result

HOMES = {
    "abstention": "thresholds.result.abstention:RiskCoverage",
    "calibration": "calibration.result:CalibrationReport",
    "classification_report": "classification.result.report:ClassificationReport",
    "confusion_matrix": "classification.result.confusion:Confusion",
    "ensemble": "ensembles.result:EnsembleReport",
    "ensemble_fits": "ensembles.drivers.result:Fits",
    "explanations": "explanations.result.explained:Explained",
    "export": "export.result:ExportReport",
    "feature_maps": "feature_maps.result:FeatureMapsResult",
    "generalization_gap": "classification.result.gap:GapHistory",
    "hard_examples": "hard_examples.result:HardReport",
    "knobs": "tuning.knobs_result:Knobs",
    "label_confusion": "classification.result.confusion:LabelConfusion",
    "label_errors": "label_errors.result:SampleHistory",
    "overhead": "core.output.overhead:Overhead",
    "mining": "hard_examples.result:MiningSpread",
    "pareto": "profile.compared.result:Pareto",
    "predictions": "classification.result.predictions:Predictions",
    "profile": "profile.result:ProfileReport",
    "saliency": "saliency.result:Saliency",
    "sample_maps": "samples.result:SampleMaps",
    "score_curves": "classification.result.curves:CurveReport",
    "study": "tuning.result:Study",
    "surrogate": "explanations.result.surrogate:SurrogateReport",
    "thresholds": "thresholds.result.thresholds:ThresholdReport",
    "torchmetrics": "torchmetrics.result:MetricValues",
}
"""By kind, the module below the package and the class; imported when a record of it is read."""

_PACKAGE = __name__.partition(".")[0]


def result_of(record: Mapping[str, Any]) -> Result:
    """The result that a record was written from; of what files alone hold, as pictures, it has nothing.

    Args:
        record: as ``RunFolder.record`` gives it.

    Raises:
        ValueError: the record is of no kind that is known, or has another form.
    """
    kind = record.get("kind")
    if kind not in HOMES:
        raise ValueError(f"'kind' of the record is {kind!r}, wanted one of {', '.join(HOMES)}.")
    module, _, name = HOMES[kind].partition(":")
    reader = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
    try:
        found: Result = reader.from_dict(record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        text = f"the record of kind {kind!r} cannot be read: {type(error).__name__}: {error}. Write it again."
        raise ValueError(text) from error
    return found
