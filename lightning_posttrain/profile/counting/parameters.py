"""How many parameters and buffers a module has, each once, whatever they are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._pytree import tree_leaves

from lightning_posttrain.core.output.result import listed, undefined_to_none
from lightning_posttrain.profile.counting.storages import bytes_of, storages_of


@dataclass(frozen=True)
class ParameterCount:
    """Numbers in parameters and buffers; what has several names, or stands in several modules, counts once.

    Args:
        total: numbers in all parameters, the sum over distinct ones.
        trainable: of those with ``requires_grad``.
        frozen: of the others.
        buffers: numbers in all buffers, those that are not saved included.
        parameter_bytes: what the parameters take; of sharded ones what this process holds.
        buffer_bytes: what the buffers take.
        tied: the names of each parameter that has several.
        unused: names of parameters that no operation of the run read and that did not train, None without a run; a
            module that keeps what it computed of them in an earlier forward reads fewer.
        unused_total: numbers in those.
        notes: what is not as in an ordinary module: quantised, uninitialised, sharded, without numbers.
    """

    total: int
    trainable: int
    frozen: int
    buffers: int
    parameter_bytes: int
    buffer_bytes: int
    tied: tuple[tuple[str, ...], ...] = ()
    unused: tuple[str, ...] | None = None
    unused_total: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them; the inverse of ``from_dict``."""
        return {part.name: undefined_to_none(getattr(self, part.name)) for part in fields(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> ParameterCount:
        """What ``to_dict`` gave."""
        unused = None if saved["unused"] is None else tuple(saved["unused"])
        tied = tuple(tuple(names) for names in saved["tied"])
        return cls(**{**saved, "tied": tied, "unused": unused, "notes": tuple(saved["notes"])})


def parameter_count(
    module: nn.Module, *, read: Collection[int] | None = None, trained: Collection[str] = ()
) -> ParameterCount:
    """Count the parameters and buffers of a module, without a forward.

    Args:
        module: also with uninitialised, quantised or sharded parameters, or on the meta device.
        read: keys of the storages that a run read, as ``architecture_of`` has them; those of no others are unused.
        trained: names of parameters that got a gradient, which were used, whatever this run read.

    Example:
        >>> tied = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
        >>> tied[1].weight = tied[0].weight
        >>> parameter_count(tied).total, parameter_count(tied).tied
        (40, (('0.weight', '1.weight'),))
    """
    names = _names(module)
    sizes = {parameter: numbers_in(parameter) for parameter in names}
    trainable = sum(size for parameter, size in sizes.items() if parameter.requires_grad)
    buffers = [buffer for buffer in module.buffers() if not is_lazy(buffer)]
    unused = None if read is None else _unused(names, read, trained)
    return ParameterCount(
        total=sum(sizes.values()),
        trainable=trainable,
        frozen=sum(sizes.values()) - trainable,
        buffers=sum(buffer.numel() for buffer in buffers),
        parameter_bytes=sum(bytes_of(parameter) for parameter in names if not is_lazy(parameter)),
        buffer_bytes=sum(bytes_of(buffer) for buffer in buffers),
        tied=tuple(each for each in names.values() if len(each) > 1),
        unused=None if unused is None else tuple(names[parameter][0] for parameter in unused),
        unused_total=sum(sizes[parameter] for parameter in unused or ()),
        notes=tuple(_notes(module, names)),
    )


def is_lazy(parameter: Tensor) -> bool:
    """Whether a parameter waits for its first batch to have a shape."""
    return isinstance(parameter, (UninitializedParameter, UninitializedBuffer))


def numbers_in(parameter: Tensor) -> int:
    """Numbers in the whole of a parameter, however it is sharded; 0 before it is initialised."""
    if is_lazy(parameter):
        return 0
    return int(getattr(parameter, "ds_numel", parameter.numel()))  # DeepSpeed leaves an empty tensor in its place


def was_read(parameter: Tensor, read: Collection[int]) -> bool:
    """Whether the memory of a parameter is among that which was read; of what has none nobody knows otherwise."""
    storages = [] if is_lazy(parameter) else list(storages_of(parameter))
    return not storages or not parameter.numel() or any(storage._cdata in read for storage in storages)


def _names(module: nn.Module) -> dict[nn.Parameter, tuple[str, ...]]:
    names: dict[nn.Parameter, tuple[str, ...]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names[parameter] = (*names.get(parameter, ()), name)
    return names


def _unused(
    names: Mapping[nn.Parameter, tuple[str, ...]], read: Collection[int], trained: Collection[str]
) -> list[nn.Parameter]:
    return [
        parameter
        for parameter, own in names.items()
        if not is_lazy(parameter) and not was_read(parameter, read) and not set(own) & set(trained)
    ]


def _notes(module: nn.Module, names: Mapping[nn.Parameter, tuple[str, ...]]) -> Iterator[str]:
    def those(condition: Any) -> str:
        return listed([own[0] for parameter, own in names.items() if condition(parameter)], limit=4)

    if lazy := those(is_lazy):
        yield f"not initialised before the first batch and not counted: {lazy}"
    if meta := those(lambda parameter: not is_lazy(parameter) and parameter.is_meta):
        yield f"on the meta device, without numbers: {meta}"
    if sharded := those(lambda parameter: type(parameter).__name__ == "DTensor"):
        yield f"sharded, counted whole, with this process's bytes: {sharded}"
    if partitioned := those(lambda parameter: hasattr(parameter, "ds_numel")):
        yield f"partitioned by DeepSpeed, counted whole, with this process's bytes: {partitioned}"
    if any(type(part).__name__ == "FullyShardedDataParallel" for part in module.modules()):
        yield "sharded by FullyShardedDataParallel: parameters and bytes are of this process's part alone"
    yield from _quantised(module)


def _quantised(module: nn.Module) -> Iterator[str]:
    """What modules of ``torch.ao.nn.quantized`` and its like hold in no parameter and no buffer."""
    packed = {name: part for name, part in module.named_modules() if _is_packed(part)}
    inner = {each for part in packed.values() for each in part.modules() if each is not part}
    outer = {name: part for name, part in packed.items() if part not in inner}
    if outer:
        size = sum(_bytes_of_state(part) for part in outer.values())
        names = listed(list(outer), limit=4)
        yield f"quantised, its weights are no parameters but {size:,} bytes of its state: {names}"


def _is_packed(part: nn.Module) -> bool:
    return ".quantized." in type(part).__module__ and next(part.parameters(), None) is None


def _bytes_of_state(part: nn.Module) -> int:
    return sum(bytes_of(tensor) for value in part.state_dict().values() for tensor in _unpacked(value))


def _unpacked(value: Any) -> Iterator[Tensor]:
    """Tensors of a state, those that the engine of quantised products has packed included."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, torch.ScriptObject):
            yield from _unpacked(leaf.__getstate__())
