"""Ensembles: one prediction of several members, checkpoints of a run or of several, and whether it is worth it.

``functional`` has the strategies, fitted to validation rows and judged by cross-fitting, the figures of diversity, and
averages of weights; ``network`` is the chosen combination as one module and one file. A new strategy is a function and
a line of ``functional/strategies``.
"""

from __future__ import annotations

from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.functional.strategies import STRATEGIES, TITLES, fit_strategies

__all__ = [
    "STRATEGIES",
    "TITLES",
    "Combination",
    "fit_strategies",
]
