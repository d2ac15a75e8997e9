"""Which weights are shipped: those of the best checkpoint, the last ones, an average, an ensemble, a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.ensembles import CheckpointEnsemble, EnsembleNetwork, MemberState, member_of, read_members
from lightning_posttrain.export.folder.hashes import sha256
from lightning_posttrain.export.program.standing_copy import copied, standing_copy

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

SAID = ("best", "last", "average", "ensemble")
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
        said: one of ``SAID``, the path of a checkpoint, or ``TESTED``.

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
    if said not in SAID:
        return _of_file(trainer, module, Path(said), f"the checkpoint {Path(said).name}", {"source": "file"})
    keeper = _keeper(trainer)
    best = str(attribute(keeper, "best_model_path", "") or "")
    if said == "average":
        return _average(trainer, module, best)
    if not best or not Path(best).is_file():
        last = weights_of(trainer, module, "last")
        return replace(last, words=f"{last.words}; the best checkpoint is gone") if best else last
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
    try:
        member = read_members(path, module)[0]
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix("`members`: ").partition(" Leave it out")[0]
        raise ValueError(f"`weights`: of {words}: {reason} Pass weights='last', or the path of another.") from error
    return _of_member(trainer, module, member, words, facts)


def _of_member(
    trainer: Trainer, module: LightningModule, member: MemberState, words: str, facts: dict[str, Any]
) -> Weights:
    path = Path(member.source)
    saved = trainer.strategy.load_checkpoint(path)
    facts = {**facts, "epoch": saved.get("epoch"), "step": saved.get("global_step"), **_file(path)}
    states = saved.get("callbacks")
    with copied():
        own = member_of(module, member.tensors)
    return Weights(
        standing_copy(own), f"{words}, {member.name}", facts, states=states if isinstance(states, Mapping) else {}
    )


def _average(trainer: Trainer, module: LightningModule, best: str) -> Weights:
    """The average that a checkpoint holds beside the weights as they were trained, or instead of them."""
    found = read_members(best, module) if best and Path(best).is_file() else []
    averaged = [member for member in found if member.kind in ("ema", "swa")]
    if averaged:
        return _of_member(trainer, module, averaged[0], "the averaged weights", {"source": "average"})
    for callback in attribute(trainer, "callbacks", ()):
        if isinstance(attribute(callback, "_average_model"), nn.Module):  # which the end of the fit has put in place
            last = weights_of(trainer, module, "last")
            words = last.words.replace("the weights", "the averaged weights")
            return Weights(last.module, words, {**last.facts, "source": "average"})
    raise ValueError(
        "`weights` is 'average', and no checkpoint of this run holds averaged weights. Add StochasticWeightAveraging "
        "or EMAWeightAveraging to the Trainer, or pass weights='best'."
    )


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
    words = f"an ensemble of {len(network.members)} members: {network.describe()}"
    facts = {"source": "ensemble", "members": list(network.names or ()), "strategy": found.fit.chosen}
    return Weights(standing_copy(network), words, facts, entry=found.fit.entry, alone=False)
