"""FLOPs of operations: two for each multiply and add of a product or a convolution, nothing for all others.

The formulas are those of ``torch.utils.flop_counter``, read when they are needed, so that a formula that somebody
registered there for an operator of his own is used too. Here are those that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Formula = Callable[[tuple[Any, ...], Mapping[str, Any], Any], int]
"""From the arguments and the output of an operation to its FLOPs."""

SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def formula_of(packet: Any) -> Formula | None:
    """The formula of an operation, whatever its overload, or None where there is none."""
    namespace, _, name = str(getattr(packet, "_qualified_op_name", "")).partition("::")
    name = name.removesuffix("_")  # in place it is the same product
    known = getattr(torch.ops.aten, name, None) if namespace == "aten" else packet
    if known in flop_registry:
        return _by_shapes(flop_registry[known])
    if namespace != "aten":
        return None
    if name.startswith("_scaled_dot_product") and "backward" not in name:
        return _attention
    return _FORMULAS.get(name)


def _by_shapes(formula: Callable[..., int]) -> Formula:
    """A formula of torch, by the shapes of dense factors; of a sparse one the entries that are stored count."""

    def flops(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
        sparse = [value for value in args if isinstance(value, Tensor) and value.layout in SPARSE]
        return _sparse(sparse, out) if sparse else int(formula(*args, **kwargs, out_val=out))

    return flops


def _sparse(factors: list[Tensor], out: Tensor) -> int:
    """Each stored entry meets one row of the dense factor."""
    if len(factors) > 1:
        raise NotImplementedError("how many entries of two sparse factors meet is not known without the product")
    (factor,) = factors
    stored = factor._values() if factor.layout is torch.sparse_coo else factor.values()
    return 2 * stored.numel() * (out.shape[-1] if out.ndim > 1 else 1)


def _inner(args: tuple[Any, ...], _kwargs: Mapping[str, Any], out: Any) -> int:
    """Each number of the output is a product of as many as the first factor has in its last dimension."""
    sparse = [value for value in args if isinstance(value, Tensor) and value.layout in SPARSE]
    return _sparse(sparse, out) if sparse else 2 * int(out.numel() * args[0].size(-1))


def _added(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
    """``_inner`` of what is added to the first argument."""
    return _inner(args[1:], kwargs, out)


def _added_batches(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    return 2 * int(args[1].numel() * args[2].shape[-1])


def _dot(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    return 2 * int(args[0].numel())


def _outer(_args: tuple[Any, ...], _kwargs: Mapping[str, Any], out: Any) -> int:
    return 2 * int(out.numel())


def _attention(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    """Both products of a fused attention ``(…, heads, length, width)``, with what is masked or padded by the kernel."""
    query, key, value = (tensor.shape for tensor in args[:3])
    return 2 * int(prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _recurrent(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    """Each matrix of a fused recurrent network is taken once a step: ``(steps, batch, width)``, or packed."""
    weights = [value for value in tree_leaves(args[1]) if isinstance(value, Tensor)]
    return _steps(args[0], weights)


def _recurrent_layer(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    return _steps(args[0], list(args[1:3]))


def _recurrent_of_mps(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    return _steps(args[0], list(args[2]))


def _steps(inputs: Tensor, weights: list[Tensor]) -> int:
    matrices = sum(weight.numel() for weight in weights if weight.ndim == 2)
    return 2 * prod(inputs.shape[:-1]) * matrices


def _trilinear(args: tuple[Any, ...], _kwargs: Mapping[str, Any], _out: Any) -> int:
    """``nn.Bilinear``: the first two factors, summed over the dimensions that the third lacks, then the third."""
    expanded, summed = [set(dims) for dims in args[3:6]], set(args[6])
    shapes = [_expanded(list(tensor.shape), dims) for tensor, dims in zip(args[:3], expanded, strict=True)]
    first = [max(pair) for pair in zip(*shapes[:2], strict=True)]
    between = [1 if dim in summed & expanded[2] else size for dim, size in enumerate(first)]
    second = [max(pair) for pair in zip(between, shapes[2], strict=True)]
    return 2 * int(prod(first) + prod(second))


def _expanded(shape: list[int], dims: set[int]) -> list[int]:
    for dim in sorted(dims):
        shape.insert(dim, 1)
    return shape


def _grouped(args: tuple[Any, ...], _kwargs: Mapping[str, Any], out: Any) -> int:
    """Products of groups of rows with a matrix each; where the groups split the inner dimension, ``out`` is 3-D."""
    first, second = args[0].shape, args[1].shape
    if len(first) == len(second) == 2:
        return 2 * int(prod(first) * second[-1])
    return 2 * int(out.numel() * first[-1])


def _convolved_series(args: tuple[Any, ...], _kwargs: Mapping[str, Any], out: Any) -> int:
    kernel, channels, _ = args[1].shape
    return 2 * int(out.numel() * kernel * channels)


_FORMULAS: dict[str, Formula] = {
    "mv": _inner,
    "addmv": _added,
    "matmul": _inner,
    "linear": _inner,
    "_int_mm": _inner,
    "_addmm_activation": _added,
    "_sparse_addmm": _added,
    "_sparse_mm": _inner,
    "_weight_int8pack_mm": _inner,
    "_weight_int4pack_mm": _inner,
    "_weight_int4pack_mm_for_cpu": _inner,
    "mkldnn_linear": _inner,
    "addbmm": _added_batches,
    "dot": _dot,
    "vdot": _dot,
    "addr": _outer,
    "_trilinear": _trilinear,
    "_grouped_mm": _grouped,
    "_scaled_grouped_mm": _grouped,
    "conv_tbc": _convolved_series,
    "mkldnn_rnn_layer": _recurrent_layer,
    "_cudnn_rnn": _recurrent,
    "miopen_rnn": _recurrent,
    "_lstm_mps": _recurrent_of_mps,
}
