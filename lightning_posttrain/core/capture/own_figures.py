"""What a module itself logs in its steps: of a batch, and of an epoch."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor


def of_first_batch(trainer: Trainer, loader: int) -> dict[str, float]:
    """What a step logged of a loader's first batch, by name, before another batch is added to it."""
    found = {}
    for kept in _logged(trainer, loader):
        value = kept._forward_cache
        if kept.is_tensor and kept.meta.is_mean_reduction and int(kept.cumulated_batch_size) > 0:
            value = kept.value / kept.cumulated_batch_size
        if isinstance(value, Tensor) and value.numel() == 1:
            found[kept.meta.name] = float(value)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def of_epoch(trainer: Trainer, loader: int) -> dict[str, float]:
    """What the steps of a finished epoch logged of a loader; all ranks together, and on each the same."""
    found = {}
    for kept in _logged(trainer, loader):
        name, index = kept.meta.name, kept.meta.dataloader_idx
        shared = trainer.world_size == 1 or not kept.is_tensor or kept.meta.sync.should
        value = trainer.callback_metrics.get(name if index is None else f"{name}/dataloader_idx_{index}")
        if shared and isinstance(value, Tensor) and value.numel() == 1 and math.isfinite(float(value)):
            found[name] = float(value)
    return found


def _logged(trainer: Trainer, loader: int) -> list[Any]:
    """What Lightning keeps of ``self.log`` in the steps of the loop that runs; nothing where it keeps it elsewhere."""
    with torch.no_grad():
        kept = getattr(trainer, "_results", None)
        entries = list(kept.values()) if isinstance(kept, dict) else []
        return [
            entry for entry in entries
            if hasattr(entry, "meta") and entry.meta.on_epoch and str(entry.meta.fx).endswith("_step")
            and entry.meta.dataloader_idx in (None, loader)
        ]  # fmt: skip
