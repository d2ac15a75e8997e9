"""Run the user's module outside of its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_posttrain.batch import to_logits
from lightning_posttrain.capture import ScoreFinder
from lightning_posttrain.reading import Reading


def second_forward(trainer: Trainer, module: LightningModule, inputs: Any) -> Callable[[], Any]:
    """A function that runs the module on the inputs as its step would, and leaves the RNGs alone."""

    def forward() -> Any:
        if inputs is None:
            raise ValueError("no inputs found in the batch; pass inputs_fn=lambda batch: ...")
        with torch.no_grad(), isolate_rng(), trainer.precision_plugin.forward_context():
            return module(inputs)

    return forward


def scorer(
    module: LightningModule, finder: ScoreFinder | None, reading: Reading, num_classes: int
) -> Callable[[Any], Tensor]:
    """A function from inputs to logits, through the module that the step itself gives them to."""
    entry = module.get_submodule(finder.entry if finder else "")
    picker = ScoreFinder(replace(reading, num_classes=num_classes))

    def scores(inputs: Any) -> Tensor:
        return to_logits(picker.pick(entry(inputs), len(inputs)), reading.task, reading.scores)

    return scores
