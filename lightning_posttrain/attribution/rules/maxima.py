"""DeepLIFT for maxima: the place of the larger of both maxima moves, by the share that the maximum did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.attribution.rules.base import Call, Rule, functions, with_gradient_of
from lightning_posttrain.attribution.rules.reference import References


def _pooled(with_indices: Callable[..., tuple[Tensor, Tensor]], sides: int) -> Rule:
    def rule(mode: References, call: Call) -> Any:
        x = call.x
        noted = mode.reference(call, x)
        if noted is None or not x.requires_grad:
            return call()
        inner = Call(with_indices, call.args, {k: v for k, v in call.kwargs.items() if k != "return_indices"})
        (y, place), (y0, place0) = inner.on(x.detach()), inner.on(noted[0])
        flat = [tensor.flatten(-sides) for tensor in (x, noted[0], y, y0, place, place0)]
        result = _largest(flat[0], flat[1], flat[2], flat[3], torch.where(flat[2] >= flat[3], flat[4], flat[5]))
        return (result.view_as(y), place) if call.func is with_indices else result.view_as(y)

    return rule


def _largest(x: Tensor, x0: Tensor, y: Tensor, y0: Tensor, place: Tensor) -> Tensor:
    """Maxima of ``x`` that move with the place of the larger of both, which moved at least as far."""
    step = (x.detach() - x0).gather(-1, place)
    still = step.abs() <= 1e-30
    share = torch.where(still, 0.0, (y - y0) / torch.where(still, 1.0, step))
    return with_gradient_of(x.gather(-1, place) * share, y)


def _maximum(mode: References, call: Call) -> Any:
    given = call.named("input", "dim", "keepdim")
    x, dim, keepdim = call.x, given.get("dim"), bool(given.get("keepdim"))
    if dim is None or dim == () or isinstance(dim, Tensor):  # over all samples; the larger of two tensors
        return call()
    noted = mode.reference(call, x)
    if noted is None or not x.requires_grad:
        return call()
    ends = [d % x.ndim for d in ([dim] if isinstance(dim, int) else dim)]
    flat, flat0 = (t.movedim(ends, list(range(-len(ends), 0))).flatten(-len(ends)) for t in (x, noted[0]))
    (y, place), (y0, place0) = flat.detach().max(-1, keepdim=True), flat0.max(-1, keepdim=True)
    result = _largest(flat, flat0, y, y0, torch.where(y >= y0, place, place0)).squeeze(-1)
    for d in sorted(ends) if keepdim else ():
        result = result.unsqueeze(d)
    named = call.func in (torch.max, Tensor.max)
    return torch.return_types.max((result, call().indices)) if named else result


MAXIMA: dict[Any, Rule] = dict.fromkeys(functions("amax", "max"), _maximum)
for _sides in (1, 2, 3):
    for _name in (f"max_pool{_sides}d", f"adaptive_max_pool{_sides}d"):
        _indexed = getattr(F, f"{_name}_with_indices")
        MAXIMA |= dict.fromkeys([*functions(_name), _indexed], _pooled(_indexed, _sides))
