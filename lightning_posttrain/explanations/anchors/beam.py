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
    # rules have nothing superfluous in them, so only the new predicate and the old ones are to be compared
    is_new = ~rules & ((rules.float() @ implies.float()) == 0)
    parent, added = is_new.nonzero(as_tuple=True)
    every = rules[parent] & ~implies[added]
    every[torch.arange(len(added), device=every.device), added] = True
    once = first_of_each((every * weights(len(implies)).to(every.device)).sum(1))
    return every[once], (parent * len(implies) + added)[once]


def weights(count: int) -> Tensor:
    """Random numbers ``(P,)`` whose sums tell sets apart, much faster than a comparison of all their members."""
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(0))


def first_of_each(keys: Tensor) -> Tensor:
    """Where each of the different keys ``(n,)`` comes first, rising.

    Example:
        >>> first_of_each(torch.tensor([7, 3, 7, 5])).tolist()
        [0, 1, 3]
    """
    kinds, kind = torch.unique(keys, return_inverse=True)
    place = torch.arange(len(keys), device=keys.device)
    return place.new_full((len(kinds),), len(keys)).scatter_reduce(0, kind, place, "amin").sort().values


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
