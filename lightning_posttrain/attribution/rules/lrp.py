"""Layer-wise relevance propagation in its stable forms, as input times a modified gradient.

linear, convolution   generalised gamma rule (Andéol et al., 2021, arXiv:2106.04923): positive outputs favour
positive contributions, negative ones negative; the denominator is never smaller than
the output. A batch normalisation that follows is folded into the weights first.
smooth activation f   f(x) / x
normalisation         its deviation is held fixed     (AttnLRP, Achtibat et al., 2024, arXiv:2402.05602)
product of two        half to each factor             (AttnLRP)
softmax               its gradient                    (AttnLRP)
"""

from __future__ import annotations

from collections.abc import Callable
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
    Rules,
    attention,
    attention_layer,
    bound,
    functions,
    is_float,
    needs_gradient,
    with_gradient_of,
)
from lightning_posttrain.attribution.rules.guided import RECTIFIERS
from lightning_posttrain.attribution.rules.norms import group_norm, instance_norm, layer_norm, rms_norm

Linear = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


class RelevanceRules(Rules):
    """Remembers the last linear layer, into which a batch normalisation may be folded."""

    def __init__(self, gamma: float) -> None:
        super().__init__(RELEVANCE)
        self.gamma = gamma
        self.last: tuple[Tensor, Tensor, Tensor, Tensor | None, Linear] | None = None


def lrp(problem: Problem, gamma: float) -> Tensor:
    """Relevance of the inputs' shape."""
    total = torch.zeros_like(problem.inputs)

    def add(rows: Tensor) -> None:
        which = problem.beside(rows)
        leaf = problem.inputs[which].detach().clone().requires_grad_()
        with RelevanceRules(gamma):
            value = problem.score(leaf.clone(), which)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        total.index_copy_(0, which, gradient * leaf.detach())

    problem.chunks.run(len(problem), add)
    return total


def _linear(mode: RelevanceRules, call: Call) -> Any:
    given = call.named("input", "weight", "bias")
    x, weight, bias = call.x, given["weight"], given.get("bias")
    if not needs_gradient(x):
        return call()
    rest = {key: value for key, value in call.kwargs.items() if key not in ("input", "weight", "bias")}

    def op(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return call.func(x, weight, bias, *call.args[3:], **rest)  # type: ignore[no-any-return]

    bias = None if bias is None else bias.detach()
    result = _favouring(mode.gamma, op, x, weight.detach(), bias)
    mode.last = (result, x, weight.detach(), bias, op)
    return result


def _favouring(gamma: float, op: Linear, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    value = op(x.detach(), weight, bias)
    if not gamma:
        return with_gradient_of(op(x, weight, bias), value)
    high, low = x.clamp(min=0), x.clamp(max=0)
    more, less = weight + gamma * weight.clamp(min=0), weight + gamma * weight.clamp(max=0)
    up = None if bias is None else bias + gamma * bias.clamp(min=0)
    down = None if bias is None else bias + gamma * bias.clamp(max=0)
    positive = op(high, more, up) + op(low, less, None)
    negative = op(high, less, down) + op(low, more, None)
    stressed = torch.where(value > 0, positive, negative)
    return with_gradient_of(stressed * _ratio(value, stressed.detach()), value)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """``a / b``, which lies in 0 to 1 where rounding is left aside; 0 where ``b`` is 0."""
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def _batch_norm(mode: RelevanceRules, call: Call) -> Any:
    given = call.named("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    x, last = call.x, mode.last
    mean, variance = given.get("running_mean"), given.get("running_var")
    if last is None or last[0] is not x or mean is None or variance is None or given.get("training"):
        return call()
    _, source, weight, bias, op = last
    factor = (variance + given.get("eps", 1e-5)).rsqrt()
    factor = factor if given.get("weight") is None else factor * given["weight"].detach()
    shift = -mean * factor if bias is None else (bias - mean) * factor
    shift = shift if given.get("bias") is None else shift + given["bias"].detach()
    folded = weight * factor.view(-1, *(1,) * (weight.ndim - 1))
    return _favouring(mode.gamma, op, source, folded, shift)


def _smooth(mode: RelevanceRules, call: Call) -> Any:
    x = call.x
    if not needs_gradient(x) or call.func in RECTIFIERS:
        return call()
    value = call.on(x.detach())
    small = x.detach().abs() < 1e-6
    with torch.enable_grad():  # the limit of f(x) / x
        point = x.detach().requires_grad_()
        (derivative,) = torch.autograd.grad(call.on(point).sum(), point)
    ratio = torch.where(small, derivative, value / torch.where(small, 1.0, x.detach()))
    return call.answer(with_gradient_of(x * ratio, value))


def _halved(mode: RelevanceRules, call: Call) -> Any:
    two = bound(call)
    if two is None or not needs_gradient(*two[1]):
        return call()
    op, (a, b) = two
    path = (op(a, b.detach()) + op(a.detach(), b)) / 2
    return call.answer(with_gradient_of(path, op(a.detach(), b.detach())))


def _quotient(mode: RelevanceRules, call: Call) -> Any:
    """The denominator is held fixed, as that of a normalisation."""
    if len(call.args) < 2 or not is_float(call.args[1]):
        return call()
    return call.answer(torch.div(call.x, call.args[1].detach()))


def _fixed(norm: Callable[..., Any]) -> Rule:
    def rule(mode: RelevanceRules, call: Call) -> Any:
        return norm(mode, call, lambda variance: torch.rsqrt(variance).detach())

    return rule


LINEAR = functions("linear", "conv1d", "conv2d", "conv3d")
RELEVANCE: dict[Any, Rule] = {
    **dict.fromkeys(LINEAR, _linear),
    **dict.fromkeys(functions("batch_norm"), _batch_norm),
    **dict.fromkeys(functions(*ACTIVATIONS), _smooth),
    **dict.fromkeys(PRODUCTS | MATRIX_PRODUCTS, _halved),
    **dict.fromkeys(functions("div", "true_divide", "__truediv__", "__itruediv__"), _quotient),
    **dict.fromkeys(functions("layer_norm"), _fixed(layer_norm)),
    **dict.fromkeys(functions("group_norm"), _fixed(group_norm)),
    **dict.fromkeys(functions("rms_norm"), _fixed(rms_norm)),
    F.instance_norm: _fixed(instance_norm),
    F.scaled_dot_product_attention: attention,
    F.multi_head_attention_forward: attention_layer,
}
