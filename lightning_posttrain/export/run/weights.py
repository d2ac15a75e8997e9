"""Which weights are shipped: those of the best checkpoint, the last ones, an average, an ensemble, a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.ensembles import CheckpointEnsemble, EnsembleNetwork, MemberState, member_of, read_members
from lightning_posttrain.export.folder.hashes import sha256
from lightning_posttrain.export.program.standing_copy import standing_copy
from lightning_posttrain.export.run.settings import WEIGHTS

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

TESTED = "tested"
"""The weights that a test runs with."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights that are to be shipped.

    Args:
        module: a copy with them, on the CPU and in evaluation mode; of an ensemble, its network.
        words: what they are, as ``"the best checkpoint by val/log_loss, epoch 3"``.
        facts: for the manifest.
        entry: dotted name, in the module of the run, of what ``module`` stands for; "" for the whole.
        states: of the callbacks in the checkpoint that they come from, by key; None where they are those of the run.
        alone: whether what callbacks have fitted can be for them; that of members is for none but these.
    """

    module: nn.Module
    words: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    entry: str = ""
    states: Mapping[str, Any] | None = None
    alone: bool = True

    @property
    def network(self) -> EnsembleNetwork | None:
        """Of an ensemble."""
        return self.module if isinstance(self.module, EnsembleNetwork) else None


def weights_of(trainer: Trainer, module: LightningModule, said: str) -> Weights:
    """Weights at the end of a fit, or in a test, in a copy.

    Args:
        trainer: of the run.
        module: of it.
        said: one of ``WEIGHTS``, the path of a checkpoint, or ``TESTED``.

    Raises:
        ValueError: there are none such.
    """
    if said == "ensemble":
        return _ensemble(trainer, module)
    if said in ("last", TESTED):
        epoch = max(trainer.current_epoch - 1, 0)
        words = f"the weights at the end of the fit, epoch {epoch}" if said == "last" else _tested(trainer)
        facts = {"source": said, "epoch": epoch, "step": trainer.global_step, **_file_of(trainer, said)}
        return Weights(standing_copy(module), words, facts)
    if said not in WEIGHTS:
        return _of_file(trainer, module, Path(said), f"the checkpoint {Path(said).name}", {"source": "file"})
    keeper = _keeper(trainer)
    best = str(attribute(keeper, "best_model_path", "") or "")
    if said == "average":
        return _average(trainer, module, best)
    if not best or not Path(best).is_file():
        return weights_of(trainer, module, "last")
    monitor, value = attribute(keeper, "monitor"), attribute(keeper, "best_model_score")
    by = f" by {monitor}" if monitor else ""
    facts = {"source": "best", "monitor": monitor, "value": None if value is None or not monitor else float(value)}
    return _of_file(trainer, module, Path(best), f"the {'best' if monitor else 'last'} checkpoint{by}", facts)


def best_file(trainer: Trainer) -> str:
    """The path of the best checkpoint of a run, "" where there is none."""
    return str(attribute(_keeper(trainer), "best_model_path", "") or "")


def _keeper(trainer: Trainer) -> Any:
    """The callback whose checkpoints are meant: the first that monitors something, else the first."""
    callbacks = attribute(trainer, "callbacks", ())
    keepers = [each for each in callbacks if attribute(each, "best_model_path") is not None]
    return next((each for each in keepers if attribute(each, "monitor")), keepers[0] if keepers else None)


def _tested(trainer: Trainer) -> str:
    return f"the weights that were tested, {Path(trainer.ckpt_path).name if trainer.ckpt_path else 'as they were'}"


def _file_of(trainer: Trainer, said: str) -> dict[str, Any]:
    path = Path(trainer.ckpt_path) if said == TESTED and trainer.ckpt_path else None
    return _file(path) if path is not None and path.is_file() else {}


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256(path)}


def _of_file(trainer: Trainer, module: LightningModule, path: Path, words: str, facts: dict[str, Any]) -> Weights:
    if not path.exists():
        raise ValueError(f"`weights` is {str(path)!r}, which is not there. Pass 'best', or a checkpoint that is.")
    return _of_member(trainer, module, read_members(path, module)[0], words, facts)


def _of_member(
    trainer: Trainer, module: LightningModule, member: MemberState, words: str, facts: dict[str, Any]
) -> Weights:
    path = Path(member.source)
    saved = trainer.strategy.load_checkpoint(path)
    facts = {**facts, "epoch": saved.get("epoch"), "step": saved.get("global_step"), **_file(path)}
    states = saved.get("callbacks")
    copied = standing_copy(member_of(module, member.tensors))
    return Weights(copied, f"{words}, {member.name}", facts, states=states if isinstance(states, Mapping) else {})


def _average(trainer: Trainer, module: LightningModule, best: str) -> Weights:
    """The average that the best checkpoint was validated with; else that of the end of the fit; else what it holds."""
    found = read_members(best, module) if best and Path(best).is_file() else []
    averaged = {member.kind: member for member in found if member.kind in ("ema", "swa")}
    if "ema" not in averaged and _is_averaged(trainer, module):
        last = weights_of(trainer, module, "last")
        words = last.words.replace("the weights", "the averaged weights")
        return Weights(last.module, words, {**last.facts, "source": "average"})
    member = averaged.get("ema", averaged.get("swa"))
    if member is not None:
        return _of_member(trainer, module, member, "the averaged weights", {"source": "average"})
    raise ValueError(
        "`weights` is 'average', and no checkpoint of this run holds averaged weights. Add StochasticWeightAveraging "
        "or EMAWeightAveraging to the Trainer, or pass weights='best'."
    )


def _is_averaged(trainer: Trainer, module: LightningModule) -> bool:
    """Whether the end of a fit has put averaged weights in place, as that of one which was stopped early may not."""
    averages = (attribute(callback, "_average_model") for callback in attribute(trainer, "callbacks", ()))
    own = list(module.parameters())
    for average in averages:
        kept = list(average.parameters()) if isinstance(average, nn.Module) else []
        if kept and len(kept) == len(own) and all(torch.equal(a.to(b), b) for a, b in zip(kept, own, strict=True)):
            return True
    return False


def _ensemble(trainer: Trainer, module: LightningModule) -> Weights:
    callbacks = attribute(trainer, "callbacks", ())
    found = next((each for each in callbacks if isinstance(each, CheckpointEnsemble)), None)
    if found is None or found.fit is None:
        missing = "has no CheckpointEnsemble" if found is None else "has fitted no ensemble yet"
        raise ValueError(
            f"`weights` is 'ensemble', and the Trainer {missing}. Put CheckpointEnsemble() before ModelExport in "
            "callbacks, and run fit or validate."
        )
    network = found.network(module)
    members = len(network.members)
    words = f"an ensemble of {members} {'member' if members == 1 else 'members'}: {network.describe()}"
    facts = {"source": "ensemble", "members": list(network.names or ()), "strategy": found.fit.chosen}
    return Weights(standing_copy(network), words, facts, entry=found.fit.entry, alone=False)
