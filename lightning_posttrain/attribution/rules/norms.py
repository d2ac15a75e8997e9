"""Layers that divide by a norm or a deviation of their own input, step by step, so that rules see the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_posttrain.attribution.rules.base import Call, Rule, functions

Scale = Callable[[Tensor], Tensor]


def normalised(x: Tensor, dims: tuple[int, ...], eps: float, scale: Scale = torch.rsqrt) -> Tensor:
    """``x`` less its mean, times ``scale`` of its variance, over ``dims``."""
    centred = x - x.mean(dims, keepdim=True)
    return centred * scale(torch.square(centred).mean(dims, keepdim=True) + eps)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight.detach()
    return y if bias is None else y + bias.detach()


def layer_norm(mode: TorchFunctionMode, call: Call, scale: Scale = torch.rsqrt) -> Tensor:
    """``F.layer_norm``."""
    given = call.named("input", "normalized_shape", "weight", "bias", "eps")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    with mode:
        y = normalised(given["input"], dims, given.get("eps", 1e-5), scale)
        return _affine(y, given.get("weight"), given.get("bias"))


def group_norm(mode: TorchFunctionMode, call: Call, scale: Scale = torch.rsqrt) -> Tensor:
    """``F.group_norm``."""
    given = call.named("input", "num_groups", "weight", "bias", "eps")
    x = given["input"]
    shape = (1, -1, *(1,) * (x.ndim - 2))
    weight, bias = (None if p is None else p.view(shape) for p in (given.get("weight"), given.get("bias")))
    with mode:
        grouped = x.reshape(x.shape[0], given["num_groups"], -1)
        y = normalised(grouped, (2,), given.get("eps", 1e-5), scale).reshape(x.shape)
        return _affine(y, weight, bias)


def instance_norm(mode: TorchFunctionMode, call: Call, scale: Scale = torch.rsqrt) -> Any:
    """``F.instance_norm``, where it takes the statistics of the input."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
    given = call.named(*names)
    if not given.get("use_input_stats", True):
        return call()
    inner = Call(F.group_norm, (given["input"], given["input"].shape[1]), {k: given.get(k) for k in ("weight", "bias")})
    return group_norm(mode, Call(inner.func, inner.args, {**inner.kwargs, "eps": given.get("eps", 1e-5)}), scale)


def rms_norm(mode: TorchFunctionMode, call: Call, scale: Scale = torch.rsqrt) -> Tensor:
    """``F.rms_norm``."""
    given = call.named("input", "normalized_shape", "weight", "eps")
    x, dims = given["input"], tuple(range(-len(given["normalized_shape"]), 0))
    eps = given.get("eps")
    with mode:
        y = x * scale(torch.square(x).mean(dims, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps))
        return _affine(y, given.get("weight"), None)


def _variance(mode: TorchFunctionMode, call: Call) -> Any:
    given = call.named("input", "dim", "unbiased", "keepdim")
    dim = given.get("dim")
    if dim is None or isinstance(dim, bool):
        return call()
    x = call.x
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    count = 1
    for d in dims:
        count *= x.shape[d]
    less = given.get("correction", int(given.get("unbiased", True)))
    with mode:
        centred = x - x.mean(dims, keepdim=True)
        value = torch.square(centred).mean(dims, keepdim=bool(given.get("keepdim"))) * (count / (count - less))
        return torch.sqrt(value) if call.func in DEVIATIONS else value


def _length(mode: TorchFunctionMode, call: Call) -> Any:
    """The Euclidean length along a dimension."""
    given = call.named("input", "p", "dim", "keepdim")
    order, dim = given.get("ord", given.get("p", 2)), given.get("dim")
    if order not in (2, 2.0, "fro", None) or dim is None:
        return call()
    with mode:
        return torch.sqrt(torch.square(call.x).sum(dim, keepdim=bool(given.get("keepdim"))))


def _unit(mode: TorchFunctionMode, call: Call) -> Any:
    given = call.named("input", "p", "dim", "eps")
    if given.get("p", 2.0) != 2.0:
        return call()
    x = call.x
    with mode:
        length = torch.sqrt(torch.square(x).sum(given.get("dim", 1), keepdim=True))
        return x * torch.reciprocal(torch.clamp(length, min=given.get("eps", 1e-12)))


DEVIATIONS = functions("std")
NORMS: dict[Any, Rule] = {
    **dict.fromkeys(functions("layer_norm"), layer_norm),
    **dict.fromkeys(functions("group_norm"), group_norm),
    F.instance_norm: instance_norm,
    torch.instance_norm: instance_norm,
    **dict.fromkeys(functions("rms_norm"), rms_norm),
    **dict.fromkeys(functions("var") | DEVIATIONS, _variance),
    **dict.fromkeys([torch.linalg.vector_norm, torch.linalg.norm, torch.norm, torch.Tensor.norm], _length),
    F.normalize: _unit,
}
