"""Statistics of BatchNorm for averaged weights, which fit neither member's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_posttrain.core.capture.batch_parts import parts_of
from lightning_posttrain.core.stream.extra_pass import stepping
from lightning_posttrain.ensembles.members.running import Standin, placed
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.members.weights import mark

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

RESET = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}


def has_statistics(module: nn.Module) -> bool:
    """Whether a module keeps statistics of its training data, as BatchNorm does."""
    return bool(_norms(module))


def recomputed(state: MemberState, trainer: Trainer, module: LightningModule, rows: int = 2000) -> MemberState:
    """Averaged weights with statistics of BatchNorm worked out anew on training data.

    As ``torch.optim.swa_utils.update_bn``: the plain mean over batches of the training loader, through the validation
    step, but with dropout off. The module is not touched. All ranks together: each reads rows of its own, and the
    statistics of the first are taken.

    Args:
        state: averaged weights.
        trainer: of the run.
        module: whose architecture they have.
        rows: as many of a rank are enough.

    Raises:
        ValueError: there is no training data, or no validation step.
    """
    tensors = placed(state, module)
    names = [f"{name}.{each}".lstrip(".") for name in _norms(module) for each in RESET]
    for name in names:
        tensors[name].fill_(RESET[name.rpartition(".")[2]])
    with stepping(trainer, module, "train") as (_, steps):
        for part in _norms(module).values():
            part.momentum = None
            part.train()
        given = {f"module.{name}": tensor for name, tensor in tensors.items()}
        left = rows
        for batch, run in steps:
            functional_call(Standin(module, run), given, (), tie_weights=False)
            left -= next((len(part) for part in parts_of(batch).values() if part.ndim), 0)
            if left <= 0:
                break
    found = {name: given[f"module.{name}"].detach().cpu() for name in names}
    found = trainer.strategy.broadcast(found)
    whole = {**state.tensors, **found}
    return replace(state, tensors=whole, mark=mark(whole))


def _norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Those of its parts that keep statistics, by name."""
    named = module.named_modules()
    return {n: part for n, part in named if isinstance(part, _BatchNorm) and part.running_mean is not None}
