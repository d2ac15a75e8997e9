"""What may put rows in another order than the loader's sampler says.

A sampler may draw otherwise than the class that it derives from, a loader may iterate otherwise, a ``collate_fn`` may
sort a batch, a hook of the module may rearrange it.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, default_collate

from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.capture.loaders import sampler_of

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def own_order(loader: Any) -> str:
    """The sampler or loader that may draw in another order than its class says; nothing where both are torch's."""
    sampler = sampler_of(loader)
    drawn = getattr(type(sampler), "__iter__", None)
    if not getattr(drawn, "__module__", "").startswith(("torch.utils.data.", "lightning_posttrain.")):
        return f"the sampler {type(sampler).__name__}"
    return (
        "" if getattr(type(loader), "__iter__", None) is DataLoader.__iter__ else f"the loader {type(loader).__name__}"
    )


def own_collate(loader: Any) -> str:
    """The ``collate_fn`` that may put samples in another order; nothing for torch's, and for a batch of one row."""
    collate = attribute(loader, "collate_fn")
    plain = collate is default_collate or attribute(attribute(loader, "batch_sampler"), "batch_size") == 1
    return "" if plain else f"the collate_fn {getattr(collate, '__name__', type(collate).__name__)}"


def rearranged(*owners: Any) -> bool:
    """Whether a module or a data module has hooks of its own through which batches go before a step."""
    hooks = (getattr(owner, hook, None) for owner in owners if owner is not None for hook in HOOKS)
    return any(hook and not getattr(hook, "__module__", "").endswith("core.hooks") for hook in hooks)
