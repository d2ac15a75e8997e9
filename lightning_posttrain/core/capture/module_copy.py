"""A copy of a module that stands for itself: on the CPU, in evaluation mode, without a trainer and without our hooks."""

from __future__ import annotations

import copy

import torch
from torch import nn

OURS = __name__.partition(".")[0]


def standing_alone(module: nn.Module) -> nn.Module:
    """A deep copy of a module for use outside of its run; the module stays as it is.

    A LightningModule loses its trainer. Hooks of the user's are in the copy, those that listen to a run are not.

    Args:
        module: any; of a compiled one, what was compiled is copied.
    """
    with torch.inference_mode(False):
        made: nn.Module = copy.deepcopy(getattr(module, "_orig_mod", module))
        return put_aside(made)


def put_aside(made: nn.Module) -> nn.Module:
    """Bring a copy to the CPU and to evaluation mode, without gradients and without our hooks."""
    for part in made.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
    for parameter in made.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return made.cpu().eval()


def _is_ours(hook: object) -> bool:
    return str(getattr(hook, "__module__", "")).partition(".")[0] == OURS
