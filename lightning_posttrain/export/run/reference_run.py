"""In what precision the step computed the answers that the exported models are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_posttrain.export.parity.tolerance import Precision

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class ReferenceRun(NamedTuple):
    """How the answers came about that exported models are compared with.

    Args:
        precision: that they were computed in.
        words: says so, where they are not those of the module in float32 on a CPU.
    """

    precision: Precision = "float32"
    words: str = ""


def reference_run(trainer: Trainer) -> ReferenceRun:
    """That of the steps of a run."""
    low = "16" in str(trainer.precision) or str(trainer.precision).startswith("transformer")
    device = trainer.strategy.root_device.type
    fast = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    if low or (device != "cpu" and fast):
        return ReferenceRun("half", f"the step, in {trainer.precision} on {device}")
    return ReferenceRun()
