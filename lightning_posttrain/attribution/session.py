"""The one context in which gradients are taken from a user's model outside of training."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from lightning_posttrain.attribution.rules.base import slow_attention
from lightning_posttrain.core.capture.module_state import kept_state


@contextlib.contextmanager
def gradient_session(
    module: nn.Module, seed: int = 0, *, precision: contextlib.AbstractContextManager[Any] | None = None
) -> Iterator[None]:
    """Allow gradients through ``module`` in eval mode, and leave it, and the program, as they were.

    Inside, inference mode and autocast are off, parameters are frozen, gradients are on, compiled parts run
    eagerly (a compiled graph ignores hooks), attention is not fused, and the random number generators start from
    ``seed``. On leaving, restored: ``requires_grad`` and ``.grad`` of each parameter, and all that ``kept_state`` puts
    back, as training flags, hooks, buffers, attributes at any depth, and the generators of random numbers.

    Args:
        module: the model, unwrapped.
        seed: the same for every epoch makes maps that differ only by what was learnt.
        precision: a context that forwards run in, as a trainer's. Default: without autocast.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> with torch.inference_mode(), gradient_session(net):
        ...     x = torch.ones(1, 2, requires_grad=True)
        ...     gradient, = torch.autograd.grad(net(x).sum(), x)
        >>> torch.equal(gradient, net.weight)
        True
    """
    parts, parameters = list(module.modules()), list(module.parameters())
    device = next((p.device for p in parameters), torch.device("cpu"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(precision or torch.autocast(device.type, enabled=False))
        if "torch._dynamo" in sys.modules:  # or nothing is compiled, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(slow_attention())
        if any(isinstance(part, nn.RNNBase) for part in parts):  # cuDNN has no backward in eval mode
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(kept_state(module, seed=seed, gradients=True))
        stack.enter_context(_frozen(parts, parameters))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module="captum.*")
        yield


@contextlib.contextmanager
def _frozen(parts: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Eval mode and frozen parameters inside; gradients put back after, as ``kept_state`` does the training flags."""
    before = [(p, p.requires_grad, p.grad) for p in parameters]
    try:
        for part in parts:
            part.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None  # a backward would add to it in place
        yield
    finally:
        for parameter, requires_grad, grad in before:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
