"""DeepLift, rescale rule (Shrikumar et al., 2017, arXiv:1704.02685), complete for any code made of known functions.

The function is run twice: on the baseline, where the arguments of every known function are noted in order, and on
the sample, where each takes its note and gets the slope between the two, rather than the slope at one. Slopes are
such that the multipliers of a function times the change of its arguments are the change of its value, so that what
is attributed to the input adds up to the change of the output.

    elementwise f      (f(x) - f(x')) / (x - x')
    product a·b        the mean of the other factor
    maximum            the place of the larger of both maxima, by the share that it moved
    softmax, norms     what follows from these for their steps
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.rules.base import (
    ACTIVATIONS,
    MATRIX_PRODUCTS,
    PRODUCTS,
    Call,
    Rule,
    added_product,
    attention,
    attention_layer,
    bound,
    functions,
    is_float,
    needs_gradient,
    with_gradient_of,
)
from lightning_posttrain.attribution.rules.maxima import MAXIMA
from lightning_posttrain.attribution.rules.norms import NORMS
from lightning_posttrain.attribution.rules.reference import References


def deep_lift(problem: Problem) -> Tensor:
    """Contributions of the inputs' shape, for each sample against its baseline."""
    total = torch.zeros_like(problem.inputs)

    def add(rows: Tensor) -> None:
        which = problem.beside(rows)
        mode = References(RESCALE)
        with torch.no_grad(), mode:
            problem.score(problem.baseline[which], which)
        mode.noting = False
        leaf = problem.inputs[which].detach().clone().requires_grad_()
        with mode:
            value = problem.score(leaf.clone(), which)
        (multiplier,) = torch.autograd.grad(value.sum(), leaf)
        total.index_copy_(0, which, multiplier * (leaf.detach() - problem.baseline[which]))

    problem.chunks.run(len(problem), add)
    return total


def _elementwise(mode: References, call: Call) -> Any:
    x = call.x
    noted = mode.reference(call, x)
    if noted is None or not x.requires_grad:
        return call()
    (x0,) = noted
    value, value0 = call.on(x.detach()), call.on(x0)
    return call.answer(with_gradient_of(x * slope(call.on, x.detach(), x0, (value, value0)), value))


def slope(func: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor, values: tuple[Tensor, Tensor]) -> Tensor:
    """Between two points; where they are one, the derivative."""
    step = x - x0
    near = step.abs() <= 1e-6 * (1 + x.abs())
    with torch.enable_grad():
        middle = ((x + x0) / 2).requires_grad_()
        (derivative,) = torch.autograd.grad(func(middle).sum(), middle)
    return torch.where(near, derivative, (values[0] - values[1]) / torch.where(near, 1.0, step))


def _power(mode: References, call: Call) -> Any:
    exponent = call.args[1] if len(call.args) > 1 else call.kwargs.get("exponent")
    return call() if isinstance(exponent, Tensor) and exponent.requires_grad else _elementwise(mode, call)


def _product(mode: References, call: Call) -> Any:
    two = bound(call)
    if two is None:
        return call()
    op, (a, b) = two
    noted = mode.reference(call, a, b)
    if noted is None or not needs_gradient(a, b):
        return call()
    mean_a, mean_b = ((now.detach() + then) / 2 for now, then in zip((a, b), noted, strict=True))
    return call.answer(with_gradient_of(op(a, mean_b) + op(mean_a, b), op(a.detach(), b.detach())))


def _quotient(mode: References, call: Call) -> Any:
    a, b = call.args[:2] if len(call.args) > 1 else (call.x, call.kwargs.get("other"))
    if not is_float(b) or call.kwargs.get("rounding_mode"):
        return call()
    with mode:
        value = a * torch.reciprocal(b)
    return call.answer(value)


def _softmax(mode: References, call: Call) -> Any:
    given = call.named("input", "dim", "_stacklevel", "dtype")
    x, dim = call.x, given.get("dim")
    noted = mode.reference(call, x)
    if noted is None or not x.requires_grad or dim is None:
        return call()
    e, e0, parts = _exponentials(x, noted[0], dim)
    r, r0 = 1 / e.sum(dim, keepdim=True), 1 / e0.sum(dim, keepdim=True)
    # y = e r: the mean of one times the change of the other; r = 1 / S has the slope -r r'
    path = (r + r0) / 2 * parts - (e + e0) / 2 * r * r0 * parts.sum(dim, keepdim=True)
    return with_gradient_of(path, e * r)


def _log_sum(mode: References, call: Call) -> Any:
    given = call.named("input", "dim", "keepdim")
    x, dim = call.x, given.get("dim")
    keepdim = call.func not in LOG_SOFTMAX and bool(given.get("keepdim"))
    noted = mode.reference(call, x)
    if noted is None or not x.requires_grad or dim is None:
        return call()
    e, e0, parts = _exponentials(x, noted[0], dim)
    s, s0 = e.sum(dim, keepdim=True), e0.sum(dim, keepdim=True)
    path = parts.sum(dim, keepdim=True) * slope(torch.log, s, s0, (s.log(), s0.log()))
    value = call.on(x.detach())
    if call.func in LOG_SOFTMAX:
        return with_gradient_of(x - path, value)
    return with_gradient_of(path if keepdim else path.flatten().view_as(value), value)


def _exponentials(x: Tensor, x0: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Those of both, from the larger of both maxima, and what moves with the slope between them."""
    now = x.detach()
    top = torch.maximum(now.amax(dim, keepdim=True), x0.amax(dim, keepdim=True))
    e, e0 = (now - top).exp(), (x0 - top).exp()
    step = (now - x0).nan_to_num(0.0)
    small = step.abs() < 1e-3
    ratio = torch.where(small, (e + e0) / 2, (e - e0) / torch.where(small, 1.0, step))
    return e, e0, x.masked_fill(now.isinf(), 0.0) * ratio


def _gated(mode: References, call: Call) -> Any:
    given = call.named("input", "dim")
    a, gate = call.x.chunk(2, given.get("dim", -1))
    with mode:
        return a * torch.sigmoid(gate)


def _table() -> dict[Any, Rule]:
    smooth: tuple[str, ...] = (
        "exp",
        "expm1",
        "log",
        "log1p",
        "log2",
        "log10",
        "sqrt",
        "rsqrt",
        "square",
        "abs",
        "absolute",
    )
    smooth += ("reciprocal", "sin", "cos", "atan", "arctan", "asinh", "sinh", "cosh", "erf", "__abs__")
    smooth += ("clamp", "clip", "clamp_min", "clamp_max")
    table: dict[Any, Rule] = dict.fromkeys(functions(*ACTIVATIONS, *smooth), _elementwise)
    table |= dict.fromkeys(functions("pow", "__pow__", "__ipow__"), _power)
    table |= dict.fromkeys(PRODUCTS | MATRIX_PRODUCTS, _product)
    table |= dict.fromkeys(functions("div", "divide", "true_divide", "__truediv__", "__itruediv__"), _quotient)
    table |= dict.fromkeys(functions("softmax"), _softmax)
    table |= dict.fromkeys(LOG_SOFTMAX | functions("logsumexp"), _log_sum)
    table |= dict.fromkeys(functions("baddbmm", "addmm"), added_product)
    return table | {
        F.glu: _gated,
        F.scaled_dot_product_attention: attention,
        F.multi_head_attention_forward: attention_layer,
        **MAXIMA,
        **NORMS,
    }


LOG_SOFTMAX = functions("log_softmax")
RESCALE: Mapping[Any, Rule] = _table()
