"""Values of tensors, kept and put back bit for bit."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Memory = tuple[torch.device, int]
TOGETHER = 1 << 18
"""Values up to which a tensor is copied to be compared beside others."""


class Copied(NamedTuple):
    """Tensors of one type on one device, and their values one after the other."""

    tensors: list[Tensor]
    values: Tensor

    @property
    def changed(self) -> Tensor:
        """Whether any has another value, where they are."""
        return (joined(self.tensors) != self.values).any()

    def put_back(self) -> None:
        """Write to those that have another value."""
        split = torch.split(self.values, [tensor.numel() for tensor in self.tensors])
        parts = [part.view_as(tensor) for tensor, part in zip(self.tensors, split, strict=True)]
        differ = torch.stack([(t != part).any() for t, part in zip(self.tensors, parts, strict=True)]).tolist()
        for tensor, part, differs in zip(self.tensors, parts, differ, strict=True):
            if differs:
                tensor.copy_(part)


class TensorValues:
    """Copies of tensors; what a forward changed of them since is put back.

    Small ones are copied and compared together, by a few launches and one wait for each device, however many they are.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._copies: list[Copied] = []

    def keep(self, tensor: Tensor) -> None:
        """Note a tensor; nothing is kept of what a forward cannot change in place by the usual means."""
        plain = as_plain(tensor)
        if plain is not None:
            self._kept.append((tensor, plain, _bits(_written(plain))))

    def copy(self) -> None:
        """Copy the values of all that was noted, before anything has changed them."""
        groups: dict[tuple[torch.device, torch.dtype, int], list[Tensor]] = {}
        for place, (_, _, bits) in enumerate(self._kept):
            alone = place if bits.numel() > TOGETHER else -1
            groups.setdefault((bits.device, bits.dtype, alone), []).append(bits)
        self._copies = [Copied(tensors, joined(tensors, copy=True)) for tensors in groups.values()]

    def put_back(self) -> None:
        """Give each tensor its memory and its value again, if it has others."""
        with torch.no_grad():
            for tensor, plain, _ in self._kept:
                if _has_moved(tensor, plain):
                    tensor.data = plain
            for copied in self._changed():
                copied.put_back()

    def _changed(self) -> list[Copied]:
        """By value, as batch normalisation writes its statistics without a new version of the tensor."""
        devices = dict.fromkeys(copied.values.device for copied in self._copies)
        there = [[copied for copied in self._copies if copied.values.device == device] for device in devices]
        flags = [torch.stack([copied.changed for copied in copies]).tolist() for copies in there]
        pairs = zip(chain(*there), chain(*flags), strict=True)
        return [copied for copied, changed in pairs if changed]


def joined(tensors: list[Tensor], *, copy: bool = False) -> Tensor:
    """The values of tensors one after the other; those of one alone are not copied unless asked for."""
    if len(tensors) == 1:
        return tensors[0].reshape(-1).clone() if copy else tensors[0].reshape(-1)
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def as_plain(tensor: Tensor) -> Tensor | None:
    """The same memory as an ordinary tensor without gradient; None for sparse, meta, quantized and wrapped ones."""
    wrapped = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    if wrapped or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return None
    plain = tensor.detach()
    plain = plain if type(plain) is Tensor else plain.as_subclass(Tensor)
    return None if plain.is_conj() or plain.is_neg() else plain


def memory_of(tensor: Tensor) -> Memory | None:
    """Where the values of a tensor lie; None where that cannot be told."""
    plain = as_plain(tensor)
    return None if plain is None else (plain.device, plain.untyped_storage().data_ptr())


def _written(plain: Tensor) -> Tensor:
    """Each place in memory once, as a tensor that is expanded cannot be written to."""
    for axis, (size, stride) in enumerate(zip(plain.shape, plain.stride(), strict=True)):
        if stride == 0 and size > 1:
            plain = plain.narrow(axis, 0, 1)
    return plain


def _bits(plain: Tensor) -> Tensor:
    """Whole numbers, of which NaN equals itself and zero has no sign."""
    real = torch.view_as_real(plain) if plain.is_complex() else plain
    return real.view(BITS[real.element_size()])


def _has_moved(tensor: Tensor, plain: Tensor) -> bool:
    return (
        tensor.data_ptr() != plain.data_ptr()
        or tensor.shape != plain.shape
        or tensor.stride() != plain.stride()
        or tensor.dtype != plain.dtype
    )
