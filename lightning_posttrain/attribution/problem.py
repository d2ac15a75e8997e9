"""What is explained: one number for each sample, as a function of its input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution.chunks import FORWARD, Chunks
from lightning_posttrain.core.capture.sending import sent

Score = Callable[[Tensor, Tensor], Tensor]
"""From rows ``(n, ...)`` and the sample that each belongs to ``(n,)`` to one number a row ``(n,)``."""

GAP = 0.05
"""A map that leaves out more than this share of the change in output is not kept."""


class NotApplicableError(Exception):
    """A method has no meaning for a model or an input; says why, and what to take instead."""


class Gradients(NamedTuple):
    """What one forward and one backward give, of all samples; None for what was not asked for.

    ``value (K,)``; ``inputs`` of the inputs' shape; ``activation`` and its gradient ``slope`` of the layer's shape.
    """

    value: Tensor
    inputs: Tensor | None
    activation: Tensor | None
    slope: Tensor | None


@dataclass(eq=False)
class Problem:
    """Samples, and the scalar function of each that is to be explained.

    Args:
        score: the function. Whatever is passed to it is a copy, which it may change.
        inputs: floats ``(K, ...)``.
        baseline: what stands for "nothing there", of the inputs' shape.
        channel_dim: the dimension of ``inputs`` that a map has not, or None.
        module: the model whose layers and attention are looked at.
        layer: dotted name of the layer for class activation maps, or None where there is none.
        background: inputs ``(M, ...)`` that baselines are drawn from. Default: the samples.
        chunks: how many rows at a time.
        seed: of the random numbers of a method.
        wants: ``"inputs"`` and ``"layer"``: whose gradients the shared pass gives.
    """

    score: Score
    inputs: Tensor
    baseline: Tensor
    channel_dim: int | None = None
    module: nn.Module | None = None
    layer: str | None = None
    background: Tensor | None = None
    chunks: Chunks = field(default_factory=lambda: Chunks(32))
    seed: int = 0
    wants: frozenset[str] = frozenset({"inputs", "layer"})

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The shape of one map."""
        return tuple(n for dim, n in enumerate(self.inputs.shape) if dim not in (0, self.channel_dim))

    @property
    def all(self) -> Tensor:
        """The numbers of the samples ``(K,)``."""
        return torch.arange(len(self), device=self.inputs.device)

    def beside(self, values: Tensor) -> Tensor:
        """Numbers of the host where the inputs are, without a wait for what runs there."""
        return sent(values, self.inputs.device)

    @cached_property
    def gradients(self) -> Gradients:
        """Of all samples, by one forward and one backward, however many methods ask."""
        parts: list[Gradients] = []
        self.chunks.run(len(self), lambda rows: parts.append(self._pass(self.beside(rows))))
        if len(parts) == 1:
            return parts[0]
        joined: list[Any] = [None if c[0] is None else torch.cat(c) for c in zip(*parts, strict=True)]
        return Gradients(*joined)

    def _pass(self, which: Tensor) -> Gradients:
        at_layer = "layer" in self.wants and self.layer is not None
        leaf = self.inputs[which].detach().clone().requires_grad_("inputs" in self.wants)
        with self._heard(cut="inputs" not in self.wants) if at_layer else _nothing() as heard:
            value = self.score(leaf.clone(), which)
        self.need_gradient(value)
        wanted = [*([leaf] if leaf.requires_grad else []), *heard]
        found = iter(torch.autograd.grad(value.sum(), wanted, allow_unused=True))
        inputs = _defined(next(found), leaf) if leaf.requires_grad else None
        if not heard:
            return Gradients(value.detach(), inputs, None, None)
        return Gradients(value.detach(), inputs, heard[0].detach(), _defined(next(found), heard[0]))

    @staticmethod
    def need_gradient(value: Tensor) -> None:
        """Raise where no gradient leads from the output to the inputs.

        Raises:
            NotApplicableError: so it is.
        """
        if not value.requires_grad:
            raise NotApplicableError("the output has no gradient at the inputs, as under no_grad; take occlusion")

    @contextmanager
    def _heard(self, *, cut: bool) -> Iterator[list[Tensor]]:
        """The output of the layer; with ``cut``, the backward ends there and what lies before keeps no graph."""
        heard: list[Tensor] = []

        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            tensor = output[0] if isinstance(output, (tuple, list)) else output
            if cut and not heard:
                tensor = tensor.detach().requires_grad_()
                heard.append(tensor)
                return _with_first(output, tensor)
            # a copy goes on, as the next layer may change its input in place
            heard.append(tensor)
            return _with_first(output, tensor)

        assert self.module is not None
        assert self.layer is not None
        handle = self.module.get_submodule(self.layer).register_forward_hook(hook)
        try:
            yield heard
        finally:
            handle.remove()
        if len(heard) != 1:
            raise NotApplicableError(f"the layer {self.layer} runs {len(heard)} times in a forward; name another one")

    def mean_gradient(
        self, steps: int, point: Callable[[Tensor, Tensor], Tensor], weight: Tensor, samples: Tensor | None = None
    ) -> Tensor:
        """Weighted sum of the gradients at ``steps`` points of each sample, of the inputs' shape.

        Args:
            steps: how many.
            point: from steps ``(n,)`` and samples ``(n,)`` to rows ``(n, ...)``.
            weight: of each step ``(steps,)``.
            samples: numbers of those that are wanted; zeros for the others.
        """
        samples = self.all if samples is None else samples
        count, total, weight = len(samples), torch.zeros_like(self.inputs), self.beside(weight.to(self.inputs.dtype))

        def add(rows: Tensor) -> None:
            rows = self.beside(rows)
            step, which = rows // count, samples[rows % count]
            leaf = point(step, which).detach().requires_grad_()
            value = self.score(leaf.clone(), which)
            self.need_gradient(value)
            gradient = _defined(torch.autograd.grad(value.sum(), leaf, allow_unused=True)[0], leaf)
            shape = (-1, *(1,) * (leaf.ndim - 1))
            total.index_add_(0, which, gradient * weight[step].view(shape))

        self.chunks.run(steps * count, add)
        return total

    def values(self, rows: Callable[[Tensor], tuple[Tensor, Tensor]], total: int) -> Tensor:
        """Values ``(total,)`` of rows that are made chunk by chunk, without gradients.

        Args:
            rows: from numbers in ``0 .. total - 1`` to rows ``(n, ...)`` and their samples ``(n,)``.
            total: how many.
        """
        found: list[Tensor] = []

        def add(numbers: Tensor) -> None:
            # not inference mode: what a module caches in it could not be differentiated afterwards
            with torch.no_grad():
                made, which = rows(self.beside(numbers))
                found.append(self.score(made, which).detach())

        self.chunks.run(total, add, cost=FORWARD)
        return torch.cat(found)

    @cached_property
    def change(self) -> Tensor:
        """How much the function changes from the baseline to the sample ``(K,)``."""
        count = len(self)

        def rows(numbers: Tensor) -> tuple[Tensor, Tensor]:
            which = numbers % count
            here = (numbers < count).view(-1, *(1,) * (self.inputs.ndim - 1))
            return torch.where(here, self.inputs[which], self.baseline[which]), which

        values = self.values(rows, 2 * count)
        return values[:count] - values[count:]


def gap(values: Tensor, change: Tensor) -> Tensor:
    """The share ``(K,)`` float64 of the change in output that attributed values leave out or add, of each sample."""
    values, change = wide(values.flatten(1)), wide(change)
    scale = torch.maximum(change.abs(), 0.01 * values.abs().sum(1)).clamp(min=1e-12)
    return (values.sum(1) - change).abs() / scale


def wide(values: Tensor) -> Tensor:
    """In float64, where the device has it."""
    return values if values.device.type == "mps" else values.double()


@contextmanager
def _nothing() -> Iterator[list[Tensor]]:
    yield []


def _with_first(output: Any, tensor: Tensor) -> Any:
    if not isinstance(output, (tuple, list)):
        return tensor.clone()
    return like(output, [tensor.clone(), *output[1:]])


def like(output: Sequence[Any], parts: Sequence[Any]) -> Any:
    """``parts`` in a container of the kind of ``output``, be it a named tuple."""
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)  # type: ignore[call-arg]


def _defined(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient.detach()
