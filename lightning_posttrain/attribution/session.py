"""The one context in which gradients are taken from a user's model outside of training."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_posttrain.attribution.rules.base import slow_attention
from lightning_posttrain.core.capture.module_state import kept_buffers, put_back, snapshot


@contextlib.contextmanager
def gradient_session(
    module: nn.Module, seed: int = 0, *, precision: contextlib.AbstractContextManager[Any] | None = None
) -> Iterator[None]:
    """Allow gradients through ``module`` in eval mode, and leave it, and the program, as they were.

    Inside, inference mode and autocast are off, parameters are frozen, gradients are on, compiled parts run
    eagerly (a compiled graph ignores hooks), attention is not fused, and the random number generators start from
    ``seed``. On leaving, restored: the training flag, hooks and attributes of each submodule, ``requires_grad`` and
    ``.grad`` of each parameter, buffers, tensors made in inference mode, and the generators of Python, NumPy, the CPU
    and the module's device.

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
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(precision or torch.autocast(device.type, enabled=False))
        stack.enter_context(_isolated_rng(device, seed))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(slow_attention())
        if any(isinstance(part, nn.RNNBase) for part in module.modules()):  # cuDNN has no backward in eval mode
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(_kept_attributes(module))
        stack.enter_context(_without_inference_tensors(module))
        stack.enter_context(kept_buffers(module))
        stack.enter_context(_kept(module))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module="captum.*")
        yield


@contextlib.contextmanager
def _kept(module: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters inside; flags and gradients put back after."""
    flags = [(part, part.training) for part in module.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    try:
        for part, _ in flags:
            part.training = False
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None  # a backward would add to it in place
        yield
    finally:
        for part, training in flags:
            part.training = training
        for parameter, requires_grad, grad in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad


@contextlib.contextmanager
def _kept_attributes(module: nn.Module) -> Iterator[None]:
    """Put back what is an attribute of each part, and its hooks: explainers leave some behind."""
    before = [(vars(part), vars(part).copy(), _hooks(part)) for part in module.modules()]
    restored = [restore for part in module.modules() for value in _own(part) if (restore := _restorer(value))]
    try:
        yield
    finally:
        for restore in restored:
            restore()
        for attributes, kept, hooks in before:
            for name in attributes.keys() - kept.keys():
                del attributes[name]
            attributes.update({name: value for name, value in kept.items() if attributes.get(name) is not value})
            for registered, numbers in hooks:
                for number in registered.keys() - numbers:
                    del registered[number]


def _own(part: nn.Module) -> Iterator[Any]:
    """What a user's code may keep in attributes and change in place, as a metric keeps its sums."""
    for name, value in vars(part).items():
        if name not in ("_parameters", "_buffers", "_modules") and not name.endswith(("_hooks", "_hooks_with_kwargs")):
            yield value


def _restorer(value: Any) -> Callable[[], object] | None:
    """What puts a container back as it is now, or a tensor's values; None for what is neither."""
    if isinstance(value, Tensor):
        kept = None if value.is_inference() else snapshot(value)
        return None if kept is None else partial(put_back, value, kept)
    if type(value) is list:
        return partial(value.__setitem__, slice(None), value.copy())
    return partial(_refill, value, value.copy()) if isinstance(value, (dict, set)) else None


def _refill(value: Any, before: Any) -> None:
    same = len(value) == len(before) and all(key in value for key in before)
    if not same or (isinstance(value, dict) and any(value[key] is not item for key, item in before.items())):
        value.clear()
        value.update(before)


def _hooks(part: nn.Module) -> list[tuple[dict[int, Any], set[int]]]:
    kinds = (value for name, value in vars(part).items() if name.endswith(("_hooks", "_hooks_with_kwargs")))
    return [(kind, set(kind)) for kind in kinds if isinstance(kind, dict)]


@contextlib.contextmanager
def _isolated_rng(device: torch.device, seed: int) -> Iterator[None]:
    """Seed every generator inside, restore it after; ``torch.manual_seed`` would reach other devices too."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    backend = None if device.type == "cpu" else torch.get_device_module(device)
    accelerator = backend.get_rng_state() if backend else None
    try:
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        if backend:
            backend.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if backend:
            backend.set_rng_state(accelerator)


@contextlib.contextmanager
def _without_inference_tensors(module: nn.Module) -> Iterator[None]:
    """Swap tensors that the module made in inference mode, which autograd refuses, for clones."""
    swapped: list[tuple[dict[str, Any], str, Any, Any]] = []
    for part in module.modules():
        stores: tuple[dict[str, Any], ...] = (part._parameters, part._buffers, part.__dict__)
        for store in stores:
            for name, value in list(store.items()):
                if name not in ("_parameters", "_buffers", "_modules") and _is_inference(value):
                    clone = _cloned(value)
                    swapped.append((store, name, value, clone))
                    store[name] = clone
    try:
        yield
    finally:
        for store, name, value, clone in swapped:
            if store.get(name) is clone:
                store[name] = value


def _is_inference(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_inference, value.values()))
    if type(value) in (list, tuple):
        return any(map(_is_inference, value))
    return isinstance(value, Tensor) and value.is_inference()


def _cloned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_cloned, value))
    if not _is_inference(value):
        return value
    clone = value.detach().clone()
    return nn.Parameter(clone, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else clone
