"""Rules as sets of predicates, and how they grow by one."""

from __future__ import annotations

import torch
from torch import Tensor


def grown(rules: Tensor, implies: Tensor) -> tuple[Tensor, Tensor]:
    """Rules with one predicate more, each once; what the new predicate makes superfluous is left out.

    Args:
        rules: ``(B, P)``, bool.
        implies: whether one predicate makes another superfluous ``(P, P)``, bool.

    Returns:
        The rules ``(A, P)``, and what each came from: the rule's number times ``P`` plus the predicate's ``(A,)``.

    Example:
        >>> rules, came = grown(torch.tensor([[True, False, False]]), torch.zeros(3, 3, dtype=torch.bool))
        >>> rules.int().tolist(), came.tolist()
        ([[1, 1, 0], [1, 0, 1]], [1, 2])
    """
    each = torch.eye(len(implies), dtype=torch.bool, device=rules.device)
    every = (rules[:, None] | each).flatten(0, 1)
    every &= ~((every.float() @ implies.float()) > 0)
    came = (every != rules.repeat_interleave(len(implies), 0)).any(1).nonzero()[:, 0]
    _, kind = torch.unique((every[came] * _weights(len(implies)).to(rules.device)).sum(1), return_inverse=True)
    first = torch.full_like(came, len(every)).scatter_reduce(0, kind, came, "amin")
    came = first[first < len(every)].sort().values
    return every[came], came


def _weights(count: int) -> Tensor:
    """Random numbers ``(P,)`` whose sums tell sets apart, much faster than a comparison of all their members."""
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(0))


def without_one(rule: Tensor) -> Tensor:
    """A rule ``(P,)`` without each of its predicates in turn ``(k, P)``.

    Example:
        >>> without_one(torch.tensor([True, False, True])).int().tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    each = torch.eye(len(rule), dtype=torch.bool, device=rule.device)
    return rule & ~each[rule]


def hold_for(rules: Tensor, hold: Tensor) -> Tensor:
    """Which rules ``(A, P)`` hold for which rows ``(n, P)``: ``(A, n)``, bool."""
    return (rules.float() @ (~hold).float().T) == 0
