"""Rules that are applied to functions, as they are called, rather than to modules.

A ``TorchFunctionMode`` sees ``F.relu``, ``x.relu_()``, ``x + y`` and the attention inside a fused layer alike. So
code with functional, reused, in-place, residual or fused parts is treated as any other, and no hook or attribute
is left on a module. Each rule gives the true value with the gradient of another function.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Func = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Call:
    """A function that was called, with its arguments."""

    func: Func
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self) -> Any:
        """As if there were no rule."""
        return self.func(*self.args, **self.kwargs)

    @property
    def x(self) -> Any:
        """The first argument."""
        return self.args[0] if self.args else self.kwargs.get("input")

    @property
    def in_place(self) -> bool:
        """Whether it changes its first argument."""
        name = getattr(self.func, "__name__", "")
        return name in _IN_PLACE or (name.endswith("_") and not name.endswith("__")) or self._asked_in_place()

    def _asked_in_place(self) -> bool:
        if "inplace" in self.kwargs:
            return bool(self.kwargs["inplace"])
        code = getattr(self.func, "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code else ()
        return "inplace" in names and self.named(*names).get("inplace") is True

    def named(self, *names: str) -> dict[str, Any]:
        """The arguments by name."""
        return {**dict(zip(names, self.args, strict=False)), **self.kwargs}

    def on(self, x: Tensor) -> Any:
        """The function of another first argument, which it does not change."""
        x = x.clone() if self.in_place else x
        kwargs = {key: value for key, value in self.kwargs.items() if key != "input"}
        return self.func(x, *self.args[1:], **kwargs)

    def answer(self, value: Tensor) -> Tensor:
        """What the caller gets: ``value``, in the place of the first argument where the function works in place."""
        if self.in_place:
            self.x.copy_(value)
            return self.x  # type: ignore[no-any-return]
        return value


_IN_PLACE = {"__imul__", "__itruediv__", "__idiv__", "__ipow__"}
Rule = Callable[[Any, Call], Any]


class Rules(TorchFunctionMode):
    """Applies a table of rules, from a function to what is done instead."""

    def __init__(self, table: Mapping[Func, Rule]) -> None:
        super().__init__()
        self.table = table

    def __torch_function__(
        self, func: Func, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each function."""
        rule = self.table.get(func)
        call = Call(func, args, kwargs or {})
        return call() if rule is None or not is_float(call.x) else rule(self, call)


class _ValueOf(Function):
    @staticmethod
    def forward(ctx: Any, path: Tensor, value: list[Tensor]) -> Tensor:
        return value[0]  # in a list, as a tensor that was passed could not be changed in place afterwards

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def with_gradient_of(path: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient of ``path``."""
    result: Tensor = _ValueOf.apply(path, [value.detach().to(path.dtype)])  # type: ignore[no-untyped-call]
    return result


def is_float(x: Any) -> bool:
    """Whether it is a tensor of floats."""
    return isinstance(x, Tensor) and x.is_floating_point()


def needs_gradient(*tensors: Any) -> bool:
    """Whether all of them carry a gradient."""
    return all(isinstance(x, Tensor) and x.requires_grad for x in tensors)


def functions(*names: str) -> set[Func]:
    """All forms of functions of a name: of torch, of a tensor, of ``torch.nn.functional``, in place or not."""
    forms = (f"{name}{end}" for name in names for end in ("", "_"))
    found = (getattr(owner, form, None) for form in forms for owner in (torch, Tensor, F))
    return {func for func in found if callable(func)}


ACTIVATIONS = (
    "relu", "relu6", "gelu", "silu", "elu", "celu", "selu", "leaky_relu", "prelu", "hardswish", "hardtanh",
    "hardsigmoid", "softplus", "softsign", "mish", "sigmoid", "tanh", "tanhshrink", "hardshrink", "softshrink",
    "threshold", "logsigmoid",
)  # fmt: skip
PRODUCTS = functions("mul", "multiply", "__mul__", "__rmul__", "__imul__")
MATRIX_PRODUCTS = functions("matmul", "bmm", "__matmul__", "__rmatmul__", "mm", "einsum")


def bound(call: Call) -> tuple[Func, tuple[Any, Any]] | None:
    """A product as a function of its two factors, or None where it is none of two tensors."""
    factors = call.args[1:] if call.func is torch.einsum else call.args
    if call.func is torch.einsum and len(factors) == 1 and isinstance(factors[0], (list, tuple)):
        factors = tuple(factors[0])
    if len(factors) != 2 or not all(map(is_float, factors)):
        return None
    if call.func is torch.einsum:
        return lambda a, b: torch.einsum(call.args[0], a, b), (factors[0], factors[1])
    if call.func is Tensor.__rmatmul__:
        return torch.matmul, (factors[1], factors[0])
    return (torch.mul if call.func in PRODUCTS else torch.matmul), (factors[0], factors[1])


# parts of torch that are made of functions for which there are rules


def _without_entrance(func: Any) -> Func:
    """A function of ``torch.nn.functional`` whose body is run, rather than handed to a mode as a whole."""
    inside = {**vars(F), "has_torch_function": lambda _: False}
    copy = types.FunctionType(func.__code__, inside, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


_ATTENTION = _without_entrance(F.multi_head_attention_forward)


def attention_layer(mode: TorchFunctionMode, call: Call) -> Any:
    """``F.multi_head_attention_forward`` step by step."""
    with mode:
        return _ATTENTION(*call.args, **call.kwargs)


def attention(mode: TorchFunctionMode, call: Call) -> Tensor:
    """``F.scaled_dot_product_attention`` as two products and a softmax."""
    given = call.named("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    query, key, value, mask = (given.get(name) for name in ("query", "key", "value", "attn_mask"))
    assert query is not None
    assert key is not None
    assert value is not None
    scale = given.get("scale") or query.shape[-1] ** -0.5
    if given.get("enable_gqa"):
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    if given.get("is_causal"):
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    with mode:
        logits = torch.matmul(query * scale, key.transpose(-2, -1))
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        return torch.matmul(torch.softmax(logits, -1), value)


def added_product(mode: TorchFunctionMode, call: Call) -> Tensor:
    """``baddbmm`` and ``addmm`` as a product and a sum."""
    given = call.named("input", "a", "b")
    a, b = (
        given.get("batch1", given.get("mat1", given.get("a"))),
        given.get("batch2", given.get("mat2", given.get("b"))),
    )
    with mode:
        product = torch.matmul(a, b)  # type: ignore[arg-type]
        result: Tensor = given["input"] * given.get("beta", 1) + product * given.get("alpha", 1)
    return result


@contextmanager
def slow_attention() -> Iterator[None]:
    """Keep torch from its fused attention, which no rule sees."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
