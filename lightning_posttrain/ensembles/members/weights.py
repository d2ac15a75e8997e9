"""Weights under the names of the module that they are for, and a mark by which they are known again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Mark = tuple[float, ...]
WRAPPER = "_orig_mod."
"""What ``torch.compile`` puts into the names of a module's parameters."""
CHUNK = 1 << 22
"""Numbers of a tensor that are looked at together."""
WORD = 1 << 53
"""Whole numbers below it are exact as ``float``."""
WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def mark(weights: nn.Module | Mapping[str, Tensor]) -> Mark:
    """Two sums by which weights are known again, exact and so equal on every device, of floating-point tensors by name.

    They are sums of the numbers' bits modulo 2⁵³, once with the same weight for each number and once with another for
    each place: a number that differs in its last bit, or two that are exchanged, give another mark.

    Args:
        weights: parameters and buffers by name, or a module that has them.

    Example:
        >>> mark({"weight": torch.tensor([1.0, 2.0])}) == mark({"weight": torch.tensor([2.0, 1.0])})
        False
    """
    tensors = live_tensors(weights) if isinstance(weights, nn.Module) else weights
    named = sorted(((plain(name), tensor) for name, tensor in tensors.items()), key=lambda item: item[0])
    sums = [_sums(tensor, 2 * i + 1) for i, (_, tensor) in enumerate(named) if tensor.is_floating_point()]
    if not sums:
        return (0.0, 0.0)
    device = sums[0].device
    total = torch.stack([each.to(device) for each in sums]).sum(0)
    return tuple(float(value % WORD) for value in total.tolist())


def _sums(tensor: Tensor, weight: int) -> Tensor:
    """Both sums of one tensor ``(2,)`` int64, which may wrap around."""
    bits = tensor.detach().contiguous().view(WHOLE[tensor.element_size()]).flatten()
    total = torch.zeros(2, dtype=torch.int64, device=tensor.device)
    for first in range(0, len(bits), CHUNK):
        part = bits[first : first + CHUNK].long()
        place = torch.arange(2 * first + 1, 2 * (first + len(part)), 2, device=part.device)
        total += torch.stack([part.sum() * weight, (part * place).sum() * (weight + 1)])
    return total


def plain(name: str) -> str:
    """A parameter's name without what ``torch.compile`` puts into it.

    Example:
        >>> plain("net._orig_mod.weight")
        'net.weight'
    """
    return name.replace(WRAPPER, "")


def live_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers by all of their names, as they are."""
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return dict(named)


def fitted(saved: Mapping[str, Any], module: nn.Module, source: str) -> dict[str, Tensor]:
    """Saved weights under the names of a module and of its types, in memory of their own.

    What the module does not save, as buffers that are not persistent, is as it has it; what it has not is left out.
    Parameters that are tied in it are one.

    Raises:
        ValueError: some are missing, or of another shape.
    """
    live, given = live_tensors(module), {plain(name): value for name, value in saved.items()}
    needed = {plain(name) for name in module.state_dict()} if getattr(module, "strict_loading", True) else set()
    _check(live, given, needed, source)
    found: dict[int, Tensor] = {}
    for name, own in live.items():
        value = given.get(plain(name), own)
        if id(own) not in found:
            found[id(own)] = value.detach().to("cpu", own.dtype, copy=True)
    return {name: found[id(own)] for name, own in live.items()}


def _check(live: Mapping[str, Tensor], given: Mapping[str, Any], needed: Iterable[str], source: str) -> None:
    """Raise where weights are not those of a module."""
    own = {plain(name): tensor for name, tensor in live.items()}
    missing = [name for name in needed if name in own and name not in given]
    if missing and len(missing) == len([name for name in needed if name in own]):
        raise ValueError(
            f"{source} is a checkpoint of another model: it has {some_of(given)}, and the module {some_of(own)}. "
            "Leave it out of `members`."
        )
    for name, tensor in own.items():
        value = given.get(name, tensor)
        if not isinstance(value, Tensor) or value.shape != tensor.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(
                f"`{name}` has shape {shape} in {source} and {tuple(tensor.shape)} in the module: it is of another "
                "width or depth. Members of other architectures are given as modules, members=[module, ...]."
            )
    if missing:
        raise ValueError(
            f"{source} has no {some_of(missing)}, which the module has: it is of another model, or saves a part alone. "
            "Leave it out of `members`, or give it as a module, members=[module, ...]."
        )


def some_of(found: Iterable[str]) -> str:
    """Names in the words of a message, three at most."""
    names = sorted(found)
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(f"`{name}`" for name in names[:3]) or "nothing") + rest
