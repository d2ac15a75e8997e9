"""Scalars as the module's own, beside what the module itself logs."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.callback.logger_names import refused_names
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.statistics.precision import CLOSE
from lightning_posttrain.core.stream.stream import EvaluationStream


def log_scalars(
    trainer: Trainer, module: LightningModule, scalars: Mapping[str, float], unshown: Collection[str] = ()
) -> dict[str, float]:
    """Log through ``module.log``, except for what the module logs under the same name: the user's own stays.

    Every rank holds the same value, so that nothing is to be summed, and each may monitor it. Those that are
    ``unshown`` reach monitors, and no logger.

    Returns:
        What can be monitored, but is yet to be given to the loggers, as one of them cannot hold its name.
    """
    taken = taken_names(trainer) & set(scalars)
    _say_taken(trainer, {name: scalars[name] for name in sorted(taken)})
    free = {name: value for name, value in scalars.items() if name not in taken}
    if trainer.world_size > 1:  # Lightning would advise, later and for each name, to sum what is the same everywhere
        ours = "|".join(map(re.escape, free))
        warnings.filterwarnings("ignore", rf".*`self\.log\('({ours})', \.\.\., sync_dist=True\)`")
    hidden = {name: free.pop(name) for name in set(unshown) & set(free)}
    apart = {name: free.pop(name) for name in refused_names(trainer.loggers, free)}
    hidden.update(apart)
    with _as_if_before_the_epoch(trainer, module):
        for part, logger in ((free, None), (hidden, False)):  # None is each logger that there is
            module.log_dict(part, logger=logger, on_step=False, on_epoch=True, add_dataloader_idx=False, batch_size=1)
    return apart


def taken_names(trainer: Trainer) -> set[str]:
    """What the module itself logs: in the sanity check, in which we do not, or before the first report.

    All ranks together, at the end of the sanity check and before each report.
    """
    taken = EvaluationStream.of(trainer).taken
    stage = "sanity" if trainer.sanity_checking else stage_of(trainer)
    if stage not in taken:
        before = taken.get("sanity", set()) if stage == "val" else set()
        taken[stage] = before | set(trainer.callback_metrics)
    return taken[stage]


def _say_taken(trainer: Trainer, ours: Mapping[str, float]) -> None:
    """Say once which figures the module logs under our names, unless they are the same."""
    theirs = {name: trainer.callback_metrics.get(name) for name in ours}
    differing = [name for name, value in theirs.items() if value is None or not abs(float(value) - ours[name]) <= CLOSE]
    if differing:
        shown = ", ".join(
            name if theirs[name] is None else f"{name} ({float(theirs[name]):.4g}, ours {ours[name]:.4g})"  # type: ignore[arg-type]
            for name in differing
        )
        text = f"{shown}: logged by the module itself, whose own stays; lightning_posttrain's stand in its files."
        EvaluationStream.of(trainer).say_once(text, f"logged by the module itself {stage_of(trainer)}")


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


def epoch_of(trainer: Trainer, stage: str) -> int:
    """The epoch that figures of a stage are of; where the fit is over, or the epoch is, its last one."""
    over = trainer.state.fn != "fit" or stage == "fit"
    return max(trainer.current_epoch - 1, 0) if over else trainer.current_epoch


def finite_numbers(logged: Mapping[str, Any]) -> dict[str, float]:
    """What of logged values is one finite number, by name."""
    values = {name: value for name, value in logged.items() if isinstance(value, Tensor) and value.numel() == 1}
    numbers = {name: float(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def step_of(trainer: Trainer) -> int:
    """The step under which Lightning itself logs the epoch's scalars, so that pictures stand beside them."""
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    step = int(getattr(loop, "_batches_that_stepped", trainer.global_step))
    return step - 1 if stage_of(trainer) == "train" else step
