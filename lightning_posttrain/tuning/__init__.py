"""Search over settings of a run, and over what may be set behind a trained model.

``result`` holds a study and its trials, ``outputs`` writes its table, the best settings as YAML and TensorBoard's
HParams tab, ``render`` its pictures; ``knobs`` chooses calibrators and thresholds on cached scores.
"""

from __future__ import annotations

from lightning_posttrain.tuning.knobs import tune_knobs
from lightning_posttrain.tuning.knobs_result import Knobs, KnobSetting
from lightning_posttrain.tuning.outputs import write_outputs
from lightning_posttrain.tuning.result import Study, Trial

__all__ = [
    "KnobSetting",
    "Knobs",
    "Study",
    "Trial",
    "tune_knobs",
    "write_outputs",
]
