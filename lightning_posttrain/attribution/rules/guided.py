"""Guided backpropagation (Springenberg et al., 2014, arXiv:1412.6806), for rectifiers in any form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.attribution.problem import NotApplicableError, Problem
from lightning_posttrain.attribution.rules.base import ACTIVATIONS, Call, Rules, functions, needs_gradient

RECTIFIERS = functions("relu")


class GuidedRules(Rules):
    """Lets only positive gradients through a rectifier; counts those that it met."""

    def __init__(self) -> None:
        super().__init__({**dict.fromkeys(functions(*ACTIVATIONS), _guided)})
        self.rectifiers = 0
        self.others: set[str] = set()


def _guided(mode: GuidedRules, call: Call) -> Any:
    if not needs_gradient(call.x):
        return call()
    if call.func not in RECTIFIERS:
        mode.others.add(call.func.__name__.rstrip("_"))
        return call()
    mode.rectifiers += 1
    value = torch.relu(call.x.clone() if call.in_place else call.x)
    value.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]
    return call.answer(value)


def guided_backprop(problem: Problem) -> Tensor:
    """Gradient of the inputs' shape in which negative parts are dropped at each rectifier.

    Raises:
        NotApplicableError: the model has no rectifier, so that this would be the plain gradient.
    """
    total, mode = torch.zeros_like(problem.inputs), GuidedRules()

    def add(rows: Tensor) -> None:
        which = problem.beside(rows)
        leaf = problem.inputs[which].detach().clone().requires_grad_()
        with mode:
            value = problem.score(leaf.clone(), which)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        total.index_copy_(0, which, gradient)

    problem.chunks.run(len(problem), add)
    if not mode.rectifiers:
        found = f", but {', '.join(sorted(mode.others))}" if mode.others else ""
        raise NotApplicableError(f"the model has no ReLU{found}, and this is defined for ReLU alone; take smoothgrad")
    return total
