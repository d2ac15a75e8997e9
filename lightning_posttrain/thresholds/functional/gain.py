"""What thresholds win over 0.5, and how sure that is."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassCounts, interval
from lightning_posttrain.thresholds.functional.objectives import Objective, figures

DRAWS = 20_000_000
"""Random numbers at most, about a second; with many rows that differ there are fewer replicates, but ``FEWEST``."""
FEWEST = 50
HELD = 4_000_000
"""Numbers held at once."""


def gain(
    probabilities: Tensor,
    target: Tensor,
    thresholds: Tensor,
    objective: Objective,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """What the objective wins at thresholds over 0.5, mean over labels, with its 95 % interval: point, low, high.

    Rows are drawn again as a whole, the same for both thresholds: the interval is of the difference, and labels that
    go together stay together. The weight of a row is Poisson distributed (Hanley and MacGibbon, 2006,
    doi:10.1016/j.cmpb.2006.04.006), and rows with the same targets and predictions are drawn in one. The interval is
    that of percentiles. For a cost the gain is what is saved a row. NaN where the objective is not defined.

    Args:
        probabilities: ``(N, L)``, floating; NaN is not counted.
        target: ``(N, L)``, 0 or 1; -1 is not counted.
        thresholds: ``(L,)``, or ``(N, L)`` one for each row; NaN stands for 0.5.
        objective: what is won.
        replicates: of the bootstrap at most; fewer, but 50 at least, where more than 20 000 rows are all different.
        seed: of random numbers of its own.

    Example:
        >>> p, y = torch.tensor([[0.1], [0.2], [0.3], [0.35]]), torch.tensor([[0], [0], [1], [1]])
        >>> gain(p, y, torch.tensor([0.25]), Objective("f_beta"))[0]
        1.0
    """
    tuned, half = (probabilities >= t for t in (thresholds.double().nan_to_num(0.5), 0.5))
    known = target.where(~probabilities.isnan(), -1)
    return paired_gain(tuned, half, known, objective, replicates=replicates, seed=seed)


def paired_gain(
    decisions: Tensor, others: Tensor, target: Tensor, objective: Objective, *, replicates: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """What the objective wins by decisions over others on the same rows, as ``gain``: point, low, high.

    Args:
        decisions: ``(N, L)`` bool, whether each label is said to be there.
        others: ``(N, L)`` bool, what they are compared with.
        target: ``(N, L)``, 0 or 1; -1 is not counted.
        objective: what is won.
        replicates: of the bootstrap at most.
        seed: of random numbers of its own.

    Example:
        >>> said, y = torch.tensor([[False], [True], [True]]), torch.tensor([[0], [1], [1]])
        >>> paired_gain(said, ~said, y, Objective("f_beta"))[0]
        1.0
    """
    codes = (target >= 0) * (1 + (target > 0) + 2 * decisions + 4 * others)
    kinds, rows = _kinds(codes)
    point = _won(_sides(kinds, rows[None].double()), objective)
    if not len(rows):
        return (torch.nan,) * 3
    number = max(min(replicates, DRAWS // len(rows)), min(replicates, FEWEST))
    low, high = interval(_won(_drawn(kinds, rows, number, seed), objective)).tolist()
    return float(point), low, high


def _kinds(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows ``(U, L)`` of ``codes (N, L)`` in 0 to 8, and how often each comes ``(U,)``."""
    group = torch.zeros(len(codes), dtype=torch.int64)
    # ten codes of four bits beside the number of the group, which has 23: no two rows are confused
    for part in torch.split(codes, 10, dim=1):
        bits = 4 * torch.arange(part.shape[1])
        group = torch.unique(group << 40 | (part << bits).sum(dim=1), return_inverse=True)[1]
    count = group.bincount()
    first = torch.empty_like(count).scatter_(0, group, torch.arange(len(codes)))
    return codes[first], count


def _drawn(kinds: Tensor, rows: Tensor, number: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    step = max(1, HELD // max(number, 6 * kinds.shape[1]))
    total = torch.zeros(number, 6 * kinds.shape[1], dtype=torch.float64)
    for kind, count in zip(torch.split(kinds, step), torch.split(rows, step), strict=True):
        weight = torch.poisson(count.double().expand(number, -1), generator=generator)
        total += _sides(kind, weight)
    return total


def _sides(kinds: Tensor, weight: Tensor) -> Tensor:
    """Sums ``(R, 6 * L)``, as ``weight (R, U)`` has it, of what ``_won`` needs."""
    known, bits = kinds > 0, (kinds - 1).clamp(min=0)
    positive, tuned, half = ((bits >> place & 1).bool() & known for place in range(3))
    sides = (positive, known, tuned, half, tuned & positive, half & positive)
    return weight @ torch.cat(sides, dim=1).to(weight.dtype)


def _won(sums: Tensor, objective: Objective) -> Tensor:
    """Objective at the thresholds minus that at 0.5 ``(R,)``, mean over the labels where it is defined."""
    positive, rows, *predicted, tuned, half = sums.chunk(6, dim=1)
    values = []
    for said, found in zip(predicted, (tuned, half), strict=True):
        counts = ClassCounts(found, said - found, positive - found, rows - positive - said + found)
        values.append(figures(counts, objective)["objective"])
    return objective.sign * (values[0] - values[1]).nanmean(dim=1)
