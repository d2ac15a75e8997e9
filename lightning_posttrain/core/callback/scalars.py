"""Scalars as the module's own, beside what the module itself logs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.stream.stream import EvaluationStream


def log_scalars(trainer: Trainer, module: LightningModule, scalars: Mapping[str, float]) -> None:
    """Log through ``module.log``, except for what the module logs under the same name: the user's own stays.

    Every rank holds the same value, so that nothing is to be summed, and each may monitor it.
    """
    stream = EvaluationStream.of(trainer)
    taken = stream.taken_names(trainer) & set(scalars)
    for name in sorted(taken):
        stream.say_once(
            f"{name} is logged by the module itself; lightning_posttrain leaves it, and reports its own in files."
        )
    free = {name: value for name, value in scalars.items() if name not in taken}
    if trainer.world_size > 1:  # Lightning would advise, later and for each name, to sum what is the same everywhere
        ours = "|".join(map(re.escape, free))
        warnings.filterwarnings("ignore", rf".*`self\.log\('({ours})', \.\.\., sync_dist=True\)`")
    with _as_if_before_the_epoch(trainer, module):
        module.log_dict(free, on_step=False, on_epoch=True, add_dataloader_idx=False, batch_size=1)


_EARLIER = {"train": "on_train_epoch_start", "val": "on_validation_start", "test": "on_test_start"}


@contextmanager
def _as_if_before_the_epoch(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Keep Lightning from taking a module's own log of the same name in ``on_*_epoch_end`` for ours.

    It would average the two, or raise where their options differ; so ours is filed under an earlier hook, and of
    two values under one name the later hook's, the user's, is what others see.
    """
    before = getattr(module, "_current_fx_name", None)
    module._current_fx_name = _EARLIER[stage_of(trainer)]
    try:
        yield
    finally:
        module._current_fx_name = before


def step_of(trainer: Trainer) -> int:
    """The step under which Lightning itself logs the epoch's scalars, so that pictures stand beside them."""
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    step = int(getattr(loop, "_batches_that_stepped", trainer.global_step))
    return step - 1 if stage_of(trainer) == "train" else step
