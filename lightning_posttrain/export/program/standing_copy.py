"""A copy of a module that is fit for an export, and for comparing with what was exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_posttrain.export.program.refusals import OURS, CannotExportError, check_can_be_exported

HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def standing_copy(module: nn.Module) -> Any:
    """A copy in evaluation mode, float32 and on the CPU, of what was compiled as it was written.

    The module stays as it was; a LightningModule loses its trainer in the copy. What listens to calls for this package
    is left out.

    Raises:
        CannotExportError: a part of it is of a kind that has no export, or cannot be copied.
    """
    check_can_be_exported(module)
    memo: dict[int, Any] = {}
    with torch.inference_mode(False), torch.no_grad(), copied():
        for tensor in _to_be_moved(module):
            memo[id(tensor)] = _moved(tensor)
        for part in reversed(list(module.modules())):
            if hasattr(part, "_orig_mod"):
                memo[id(part)] = copy.deepcopy(part._orig_mod, memo)
        made = copy.deepcopy(module, memo)
        made = getattr(made, "_orig_mod", made).float().eval()
    _stop_listening(made)
    return made


@contextmanager
def copied() -> Iterator[None]:
    """Say why a network cannot be copied.

    Raises:
        CannotExportError: whatever an object of the user's raises when it is copied, in words.
    """
    try:
        yield
    except MemoryError as error:
        cure = "Export on a machine with more memory, by trainer.test with the checkpoint."
        raise CannotExportError("there is no memory for a copy of the network", cure) from error
    except Exception as error:
        said = f"the network cannot be copied: {type(error).__name__}: {error}"
        raise CannotExportError(said, "Take what cannot be copied off the module.") from error


def leave_out_hooks(module: nn.Module, run: Callable[[], tuple[Tensor, ...]]) -> None:
    """Take the hooks off a module where it gives the same without them: those that only look would look at a trace.

    Args:
        module: whose hooks they are.
        run: the module on some rows.
    """
    held = [(hooks, dict(hooks)) for part in module.modules() for hooks in (getattr(part, kind) for kind in HOOKS)]
    if not any(kept for _, kept in held):
        return
    wanted = run()
    for hooks, _ in held:
        hooks.clear()
    if not _same(run, wanted):
        for hooks, kept in held:
            hooks.update(kept)


def _same(run: Callable[[], tuple[Tensor, ...]], wanted: tuple[Tensor, ...]) -> bool:
    try:
        return all(map(torch.equal, run(), wanted))
    except Exception:  # whatever a forward does without what its hooks make
        return False


def _stop_listening(module: nn.Module) -> None:
    for part in module.modules():
        if _is_ours(vars(part).get("forward")):
            del vars(part)["forward"]
        for kind in HOOKS:
            hooks = getattr(part, kind)
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]


def _is_ours(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).split(".")[0] == OURS


def _to_be_moved(module: nn.Module) -> Iterator[Tensor]:
    """Tensors that lie elsewhere, or that autograd made, which cannot be copied as they are."""
    for part in module.modules():
        for value in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(value, Tensor) and (value.device.type != "cpu" or not value.is_leaf):
                yield value


def _moved(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
