"""What an operation is to the counter: a product with a formula, work that has none, or work that is free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch._C import _dispatch_has_kernel_for_dispatch_key as dispatch_has
from torch._ops import HigherOrderOperator

from lightning_posttrain.profile.counting.products import Formula, formula_of

# moved, made, or sent to others, but not reckoned with
FREE = {"aten", "prim", "prims", "rngprims", "profiler", "c10d", "_c10d_functional", "c10d_functional"}
COPIES = {"clone", "copy_", "_to_copy", "lift_fresh", "detach_", "_unsafe_view", "_reshape_copy", "fill_", "zero_"}
# linear algebra of more than one product, transforms, distances between all pairs, networks in one kernel
HEAVY = re.compile(
    r"(^|_)(fft|[a-z]*mm|matmul|conv\dd|conv|convolution|attention|rnn|lstm|gru|encoder|linear"
    r"|euclidean|cdist|pdist|cholesky|qr|lu|svd|svdvals|eig|eigh|eigvals|eigvalsh|inv|inverse|[a-z]*solve|lstsq"
    r"|det|slogdet|matrix|ldl|householder|geqrf|ormqr|pinv)(_|$)"
)
# cells of recurrent networks after their products; of the others what sets up, moves, or gives gradients
LIGHT = re.compile(r"thnn_fused_|backward|fftfreq|flatten_weight|reorder|pack_|prepack|lu_unpack|slice_inverse")


@dataclass(frozen=True)
class Operation:
    """How one overload of an operator is counted.

    Args:
        name: with its namespace, as ``aten::mm``.
        formula: of its FLOPs, None where they are not known, or nothing by convention.
        uncounted: it does work that no formula is known for.
        told: worth a name among what a module does itself: no view, no copy, and it reads a tensor.
        view: it reads no number.
        composite: it is made of other operations, which can be counted one by one.
    """

    name: str
    formula: Formula | None
    uncounted: bool
    told: bool
    view: bool
    composite: bool

    @property
    def short(self) -> str:
        """The name without what tells kernels and places apart.

        Example:
            >>> Operation("aten::_scaled_dot_product_flash_attention_for_cpu", None, False, True, False, False).short
            'scaled_dot_product_attention'
        """
        name = self.name.partition("::")[2].strip("_")
        return "scaled_dot_product_attention" if name.startswith("scaled_dot_product") else name


def operation_of(function: Any) -> Operation:
    """How ``function``, an overload or a higher-order operator, is counted.

    An operator without a formula is uncounted where it is none of torch's own (``aten``), or where its name says that
    it is a product, a convolution, attention, a recurrent network, a Fourier transform, a decomposition or solution
    of linear algebra, or distances of all pairs. Elementwise work, normalisation, pooling, interpolation, reductions,
    sorting, indexing, views, copies, communication and random numbers are nothing by convention.
    """
    if isinstance(function, HigherOrderOperator):
        formula = formula_of(function)
        return Operation(f"higher_order::{function._name}", formula, formula is None, True, False, False)
    packet = function.overloadpacket
    name = packet._qualified_op_name
    formula = formula_of(packet)
    return Operation(
        name=name,
        formula=formula,
        uncounted=formula is None and is_heavy(name) and not function.is_view,
        told=_told(function, name),
        view=function.is_view,
        composite=formula is None and is_composite(function),
    )


def is_heavy(name: str) -> bool:
    """Whether an operation does work that would have to be counted, by its name.

    Example:
        >>> is_heavy("aten::_fft_r2c"), is_heavy("aten::relu"), is_heavy("torchvision::deform_conv2d")
        (True, False, True)
    """
    namespace, _, short = name.partition("::")
    return namespace not in FREE or (bool(HEAVY.search(short)) and not LIGHT.search(short))


def is_composite(function: Any) -> bool:
    """Whether an operation is made of others, into which torch takes it apart.

    In inference mode operations come whole that otherwise come in parts.
    """
    if isinstance(function, HigherOrderOperator):
        return False
    return bool(dispatch_has(function.name(), "CompositeImplicitAutograd"))


def _told(function: Any, name: str) -> bool:
    reads = any("Tensor" in str(argument.type) for argument in function._schema.arguments)
    return reads and not function.is_view and name.partition("::")[2] not in COPIES
