"""Values of tensors, kept and put back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Memory = tuple[torch.device, int]


class TensorValues:
    """Copies of tensors; what a forward changed of them since is put back."""

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def keep(self, tensor: Tensor) -> None:
        """Copy a tensor; nothing is kept of what a forward cannot change in place by the usual means."""
        plain = as_plain(tensor)
        if plain is not None:
            bits = _bits(_written(plain))
            self._kept.append((tensor, plain, bits, bits.clone()))

    def put_back(self) -> None:
        """Give each tensor its memory and its value again, if it has others."""
        with torch.no_grad():
            for tensor, plain, _, _ in self._kept:
                if _has_moved(tensor, plain):
                    tensor.data = plain
            for bits, value in self._changed():
                bits.copy_(value)

    def _changed(self) -> Iterator[tuple[Tensor, Tensor]]:
        """By value, as batch normalisation writes its statistics without a new version of the tensor."""
        flags: dict[torch.device, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for _, _, bits, value in self._kept:
            if bits.device.type == "cpu":
                if not torch.equal(bits, value):
                    yield bits, value
            else:
                flags.setdefault(bits.device, []).append((bits, value, (bits != value).any()))
        for found in flags.values():  # one wait for each device
            differ = torch.stack([flag for _, _, flag in found]).tolist()
            yield from ((bits, value) for (bits, value, _), changed in zip(found, differ, strict=True) if changed)


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
