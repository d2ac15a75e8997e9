"""Values of tensors, kept and put back bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Memory = tuple[torch.device, int]
TOGETHER = 1 << 18
"""Values up to which a tensor is copied to be compared beside others."""


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

    def _changed(self) -> list[tuple[Tensor, Tensor]]:
        """By value, as batch normalisation writes its statistics without a new version of the tensor."""
        found, elsewhere = [], dict[torch.device, list[tuple[Tensor, Tensor]]]()
        for _, _, bits, value in self._kept:
            if bits.device.type != "cpu":
                elsewhere.setdefault(bits.device, []).append((bits, value))
            elif not torch.equal(bits, value):
                found.append((bits, value))
        return found + [pair for pairs in elsewhere.values() for pair in unequal(pairs)]


def unequal(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Those pairs of tensors of one device that differ, by one wait where all are equal, and by two where not.

    Small ones are compared together, by a few launches however many they are.

    Example:
        >>> pairs = [(torch.zeros(2), torch.zeros(2)), (torch.zeros(3), torch.ones(3))]
        >>> [len(a) for a, _ in unequal(pairs)]
        [3]
    """
    small: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = {}
    flags = []
    for a, b in pairs:
        if a.numel() > TOGETHER:
            flags.append((a != b).any())
        else:
            small.setdefault(a.dtype, []).append((a, b))
    for some in small.values():
        first, second = (torch.cat([part.reshape(-1) for part in side]) for side in zip(*some, strict=True))
        flags.append((first != second).any())
    if not flags or not bool(torch.stack(flags).any()):
        return []
    differ = torch.stack([(a != b).any() for a, b in pairs]).tolist()
    return [pair for pair, differs in zip(pairs, differ, strict=True) if differs]


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
