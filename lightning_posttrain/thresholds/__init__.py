"""Decision thresholds: where to say yes, for an objective, and when to abstain.

``functional`` searches all cuts exactly; ``callback`` chooses on validation and freezes on test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.thresholds.functional.abstention import risk_coverage
from lightning_posttrain.thresholds.functional.choose import choose_thresholds, operating
from lightning_posttrain.thresholds.functional.gain import paired_gain
from lightning_posttrain.thresholds.functional.objectives import Objective

if TYPE_CHECKING:
    from lightning_posttrain.thresholds.callback import DecisionThresholds

__all__ = [
    "DecisionThresholds",
    "Objective",
    "choose_thresholds",
    "operating",
    "paired_gain",
    "risk_coverage",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.thresholds.callback": [
            "DecisionThresholds",
        ],
    },
)
