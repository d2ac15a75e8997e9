"""SAMME, multiclass AdaBoost: one round, from which rows a member has wrong to its weight and those of the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class SammeRound:
    """What a round comes to.

    Args:
        error: weighted share of rows that the member has wrong.
        alpha: the member's weight; 1 where the error is 0, and 0 where it is no better than chance or not known.
        weights: of the rows ``(R,)`` in the next round; they sum to 1.
        stop: why there is no next round, or "".
    """

    error: float
    alpha: float
    weights: Tensor
    stop: str


def samme_round(weights: Tensor, wrong: Tensor, judged: Tensor, classes: int) -> SammeRound:
    r"""One round of SAMME.

    :math:`e = \sum_i w_i [y_i \ne \hat y_i] / \sum_i w_i`, :math:`\alpha = \log\frac{1 - e}{e} + \log(C - 1)`,
    :math:`w_i \leftarrow w_i \exp(\alpha [y_i \ne \hat y_i])`, to a sum of 1. It ends where :math:`e = 0`, and where
    :math:`e \ge 1 - 1/C`, as :math:`\alpha` would not be positive. Zhu, Zou, Rosset and Hastie, 2009,
    doi:10.4310/SII.2009.v2.n3.a8.

    Args:
        weights: of the rows ``(R,)`` float64.
        wrong: which the member has wrong ``(R,)``.
        judged: which count for the error ``(R,)``, as those that it was not trained on.
        classes: ``C``, at least 2.

    Example:
        >>> import torch
        >>> four = torch.full((4,), 0.25, dtype=torch.float64)
        >>> done = samme_round(four, torch.tensor([True, False, False, False]), torch.ones(4).bool(), classes=2)
        >>> done.error, round(done.alpha, 4), [round(weight, 4) for weight in done.weights.tolist()]
        (0.25, 1.0986, [0.5, 0.1667, 0.1667, 0.1667])
    """
    total = float(weights[judged].sum())
    if not total > 0:
        return SammeRound(math.nan, 0.0, weights, "no row is left to judge the member by")
    error = float(weights[judged & wrong].sum()) / total
    if error <= 0:
        return SammeRound(0.0, 1.0, weights, "it has no row wrong that it is judged by, so that no weight would change")
    if error >= 1 - 1 / classes:
        return SammeRound(error, 0.0, weights, f"its weighted error {error:.3f} is no better than chance")
    alpha = math.log((1 - error) / error) + math.log(classes - 1)
    raised = weights * (alpha * wrong.double()).exp()
    return SammeRound(error, alpha, raised / raised.sum(), "")


def effective_share(weights: Tensor) -> float:
    r"""Effective sample size over the number of rows, :math:`(\sum w)^2 / (R \sum w^2)`: 1 where all weigh the same."""
    return float(weights.sum().square() / weights.square().sum() / len(weights))
