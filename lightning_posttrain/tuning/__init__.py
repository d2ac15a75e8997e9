"""Hyper-parameter search: trials of a LightningModule, one after another or in several processes.

``door`` has ``tune``, ``search`` is one worker of a study. ``storage`` keeps it, ``trial_queue`` gives its trials out,
``samplers`` propose settings, ``trial_run`` runs one trial by the means of ``core.runs``, ``pruning``
ends it early. ``result`` holds what came out, ``outputs`` writes its table, the best settings as YAML and TensorBoard's
HParams tab, ``render`` its pictures. ``knobs`` chooses ensemble weights, calibrators and thresholds on scores that
``validation_scores`` has kept, without a trial.
Optuna proposes, judges and stores; ``backend`` imports it, and no public name is of its types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.tuning.knobs import tune_knobs
from lightning_posttrain.tuning.knobs_result import Knobs, KnobSetting
from lightning_posttrain.tuning.outputs import write_outputs
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.result import Study, Trial

if TYPE_CHECKING:
    from lightning_posttrain.tuning.door import tune
    from lightning_posttrain.tuning.scoring import ValidationScores, validation_scores

__all__ = [
    "KnobSetting",
    "Knobs",
    "Study",
    "StudyRefused",
    "Trial",
    "ValidationScores",
    "tune",
    "tune_knobs",
    "validation_scores",
    "write_outputs",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.tuning.door": [
            "tune",
        ],
        "lightning_posttrain.tuning.scoring": [
            "ValidationScores",
            "validation_scores",
        ],
    },
)
