"""Ensembles: one prediction of several members, checkpoints of a run or of several, and whether it is worth it.

``functional`` has the strategies, fitted to validation rows and judged by cross-fitting, the figures of diversity, and
averages of weights; ``network`` is the chosen combination as one module and one file. ``members`` finds checkpoints,
reads them, and runs them on the batches of an evaluation; ``callback`` fits at the end of a fit, and judges on test.
``drivers`` train members. A new strategy is a function and a line of ``functional/strategies``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.functional.cross_fit import CrossFit, FoldFits, cross_fit, fit_without_each
from lightning_posttrain.ensembles.functional.diversity import Diversity, DiversitySums, diversity, entropy_parts
from lightning_posttrain.ensembles.functional.paired import PairedMoments, paired_error, paired_interval
from lightning_posttrain.ensembles.functional.rows import (
    log_probabilities,
    member_rows,
    own_log_probability,
    row_of,
    scores_of,
)
from lightning_posttrain.ensembles.functional.soups import Soup, average, greedy_soup, soup_alarm
from lightning_posttrain.ensembles.functional.strategies import STRATEGIES, TITLES, fit_strategies
from lightning_posttrain.ensembles.member_copy import member_of
from lightning_posttrain.ensembles.members.state import MemberState, read_members
from lightning_posttrain.ensembles.network import EnsembleNetwork

if TYPE_CHECKING:
    from lightning_posttrain.ensembles.callback import CheckpointEnsemble
    from lightning_posttrain.ensembles.drivers.bagging import Bagging
    from lightning_posttrain.ensembles.drivers.boosting import Boosting
    from lightning_posttrain.ensembles.drivers.seeds import Seeds
    from lightning_posttrain.ensembles.fit import EnsembleFit
    from lightning_posttrain.ensembles.kept_scores import KeptScores, RowScores

__all__ = [
    "STRATEGIES",
    "TITLES",
    "Bagging",
    "Boosting",
    "CheckpointEnsemble",
    "Combination",
    "CrossFit",
    "Diversity",
    "DiversitySums",
    "EnsembleFit",
    "EnsembleNetwork",
    "FoldFits",
    "KeptScores",
    "MemberState",
    "PairedMoments",
    "RowScores",
    "Seeds",
    "Soup",
    "average",
    "cross_fit",
    "diversity",
    "entropy_parts",
    "fit_strategies",
    "fit_without_each",
    "greedy_soup",
    "log_probabilities",
    "member_of",
    "member_rows",
    "own_log_probability",
    "paired_error",
    "paired_interval",
    "read_members",
    "row_of",
    "scores_of",
    "soup_alarm",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.ensembles.callback": [
            "CheckpointEnsemble",
        ],
        "lightning_posttrain.ensembles.drivers.bagging": [
            "Bagging",
        ],
        "lightning_posttrain.ensembles.drivers.boosting": [
            "Boosting",
        ],
        "lightning_posttrain.ensembles.drivers.seeds": [
            "Seeds",
        ],
        "lightning_posttrain.ensembles.fit": [
            "EnsembleFit",
        ],
        "lightning_posttrain.ensembles.kept_scores": [
            "KeptScores",
            "MemberState",
            "RowScores",
        ],
    },
)
