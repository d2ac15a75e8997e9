"""Every operation of a run, counted for the module in whose forward it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_posttrain.profile.counting.operations import Operation, operation_of
from lightning_posttrain.profile.counting.parts import Calls, Part
from lightning_posttrain.profile.counting.storages import storages_of


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """FLOPs, operations by name, and the storages that were read, for the part that is at work."""

    supports_higher_order_operators = True

    def __init__(self, calls: Calls) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read: set[int] = set()
        self._calls = calls
        self._known: dict[Any, Operation] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # compiled parts run eagerly, so there is nothing to skip, and asking would load the compiler: 3 s
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = self._operation(func)
        if operation.composite and not types:  # a subclass may know the whole and not the parts
            with self:
                return func.decompose(*args, **kwargs)
        if isinstance(func, HigherOrderOperator) and func is torch.ops.higher_order.cond:
            return self._branch(*args)
        part = self._calls.running  # an operation may call modules: those hear their own
        out = func(*args, **kwargs)
        self._count(part, operation, args, kwargs, out)
        return out

    def _operation(self, func: Any) -> Operation:
        if func not in self._known:
            self._known[func] = operation_of(func)
        return self._known[func]

    def _branch(self, chosen: Any, then: Any, otherwise: Any, operands: Any) -> Any:
        """The branch of a ``torch.cond`` that is taken."""
        with self:
            return (then if chosen else otherwise)(*operands)

    def _count(self, part: Part, operation: Operation, args: Any, kwargs: Any, out: Any) -> None:
        if not operation.view:
            self.read.update(storage._cdata for storage in storages_of((args, kwargs)))
        if operation.told:
            part.operations[operation.short] += 1
        flops = _flops(operation, args, kwargs, out)
        if flops is None:
            part.uncounted[operation.name] += 1
        elif flops:
            part.products[operation.short] += flops


def _flops(operation: Operation, args: Any, kwargs: Any, out: Any) -> int | None:
    """Of one operation; None where it works and cannot be counted."""
    if operation.formula is None:
        return None if operation.uncounted else 0
    try:
        return int(operation.formula(args, kwargs, out))
    except Exception:  # formulas of others, and of shapes that no formula thought of: told by the operation's name
        return None


@contextmanager
def taken_apart() -> Iterator[None]:
    """Let a transformer's layers run as their parts and compiled ones eagerly, so that their operations are seen.

    Fused attention and fused recurrent networks stay fused: they have formulas.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with run_eagerly():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def run_eagerly() -> Iterator[None]:
    """Let compiled parts run as they were written."""
    with ExitStack() as stack:
        if compiler_is_loaded():  # to ask would load it
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def compiler_is_loaded() -> bool:
    """Whether anything was compiled in this process, or could have been."""
    return "torch._dynamo" in sys.modules
