"""Where attention looks: rollout over layers (Abnar and Zuidema, 2020, arXiv:2005.00928), and weighted by gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.attribution.problem import NotApplicableError, Problem
from lightning_posttrain.attribution.rules.base import Call, Rules, attention, attention_layer, functions


class AttentionRules(Rules):
    """Keeps the attention of every layer ``(..., T, T)``, whether written out or fused."""

    def __init__(self) -> None:
        super().__init__(ATTENTION)
        self.seen: list[Tensor] = []


def _softmax(mode: AttentionRules, call: Call) -> Any:
    given = call.named("input", "dim")
    value = call()
    last = given.get("dim") in (-1, value.ndim - 1)
    if last and value.ndim >= 3 and value.shape[-1] == value.shape[-2]:
        mode.seen.append(value)
    return value


ATTENTION: dict[Any, Any] = {
    **dict.fromkeys(functions("softmax"), _softmax),
    F.scaled_dot_product_attention: attention,
    F.multi_head_attention_forward: attention_layer,
}


def attention_rollout(problem: Problem) -> Tensor:
    """How much of each token reaches the readout if each layer passes on half of itself ``(K, T)``."""
    return _rolled(problem, weighted=False)


def gradient_rollout(problem: Problem) -> Tensor:
    """As ``attention_rollout``, of attention times its gradient where positive (Chefer et al., arXiv:2103.15679)."""
    return _rolled(problem, weighted=True)


def _rolled(problem: Problem, *, weighted: bool) -> Tensor:
    parts: list[Tensor] = []

    def add(rows: Tensor) -> None:
        which = problem.beside(rows)
        leaf = problem.inputs[which].detach().clone().requires_grad_()
        mode = AttentionRules()
        with mode:
            value = problem.score(leaf.clone(), which)
        _check(mode.seen, len(which))
        slopes = torch.autograd.grad(value.sum(), mode.seen, allow_unused=True, materialize_grads=True)
        layers = [_by_sample(layer, len(which)) for layer in mode.seen]
        if weighted:
            products = [layer.detach() * slope for layer, slope in zip(mode.seen, slopes, strict=True)]
            layers = [_by_sample(product.clamp(min=0), len(which)) for product in products]
        whole = roll_out(layers, normalise=not weighted)
        # the tokens that the output is read from are those whose last attention matters to it
        read = _by_sample(slopes[-1].abs(), len(which)).sum(-1) > 0
        read = read | ~read.any(-1, keepdim=True)
        parts.append((whole * read[..., None]).sum(1) / read.sum(-1, keepdim=True))

    problem.chunks.run(len(problem), add)
    return torch.cat(parts)


def _by_sample(layer: Tensor, samples: int) -> Tensor:
    """The mean over heads ``(K, T, T)``."""
    return layer.detach().reshape(samples, -1, *layer.shape[-2:]).mean(1)


def _check(layers: list[Tensor], samples: int) -> None:
    if not layers:
        raise NotApplicableError("the model has no attention over tokens; take hirescam or integrated_gradients")
    parts = any((layer.ndim > 3 and layer.shape[0] != samples) or layer.shape[0] % samples for layer in layers)
    if parts or len({layer.shape[-1] for layer in layers}) > 1:
        raise NotApplicableError("its layers look at different tokens, as within windows; take hirescam")


def roll_out(layers: list[Tensor], *, normalise: bool) -> Tensor:
    """From the attention of each layer ``(K, T, T)``, the first one first, to that of the whole ``(K, T, T)``.

    With ``normalise`` each layer is half itself and half what passes by, so that rows add up to 1; else what passes
    by is added whole.
    """
    eye = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
    whole = eye.expand_as(layers[0])
    for layer in layers:
        passed = (layer + eye) / 2 if normalise else layer + eye
        passed = passed / passed.sum(-1, keepdim=True) if normalise else passed
        whole = passed @ whole
    return whole if normalise else whole - eye
