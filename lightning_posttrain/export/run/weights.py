"""Which weights are shipped: those of the best checkpoint, the last ones, an average, an ensemble, a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.ensembles import CheckpointEnsemble, EnsembleNetwork, MemberState, member_of, read_members
from lightning_posttrain.export.folder.hashes import sha256
from lightning_posttrain.export.program.standing_copy import copied, standing_copy

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

TENSORS = "tensors_sha256"
"""In what the manifest says of the weights: their hash."""
AS_TESTED = "tested"
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

    @cached_property
    def tensors_sha256(self) -> str:
        """SHA-256 of the names and values of all parameters and buffers, by which the weights are known again."""
        found = hashlib.sha256()
        for name, tensor in (*self.module.named_parameters(), *self.module.named_buffers()):
            found.update(name.replace("_orig_mod.", "").encode())
            found.update(_bytes_of(tensor.detach()))
        return found.hexdigest()


def _bytes_of(tensor: Tensor) -> bytes:
    """In float32, as an export has what is of another precision."""
    plain = tensor.to_dense() if tensor.layout != torch.strided else tensor
    same = plain.float() if plain.is_floating_point() else plain
    return b"" if same.is_meta else same.cpu().contiguous().numpy().tobytes()


def weights_of(trainer: Trainer, module: LightningModule, *, said: str) -> Weights:
    """Weights at the end of a fit, or in a test, in a copy.

    Args:
        trainer: of the run.
        module: of it.
        said: ``"best"``, ``"last"``, ``"average"``, ``"ensemble"``, ``AS_TESTED``, or the path of a checkpoint.

    Raises:
        ValueError: there are none such.
    """
    if said not in SOURCES:
        return _of_file(trainer, module, Path(said), f"the checkpoint {Path(said).name}", {"source": "file"})
    return SOURCES[said](trainer, module)


def _last(trainer: Trainer, module: LightningModule) -> Weights:
    words = f"the weights at the end of the fit, epoch {_epoch(trainer)}"
    return Weights(standing_copy(module), words, {"source": "last", **_now(trainer)})


def _as_tested(trainer: Trainer, module: LightningModule) -> Weights:
    words = f"the weights that were tested, {Path(trainer.ckpt_path).name if trainer.ckpt_path else 'as they were'}"
    return Weights(standing_copy(module), words, {"source": AS_TESTED, **_tested_facts(trainer)})


def _best(trainer: Trainer, module: LightningModule) -> Weights:
    keeper, best = _keeper(trainer), _best_file(trainer)
    if best is None:
        last, gone = _last(trainer, module), attribute(keeper, "best_model_path")
        return replace(last, words=f"{last.words}; the best checkpoint is gone") if gone else last
    monitor, value = attribute(keeper, "monitor"), attribute(keeper, "best_model_score")
    by = f" by {monitor}" if monitor else ""
    facts = {"source": "best", "monitor": monitor, "value": None if value is None or not monitor else float(value)}
    return _of_file(trainer, module, best, f"the {'best' if monitor else 'last'} checkpoint{by}", facts)


def _best_file(trainer: Trainer) -> Path | None:
    best = Path(str(attribute(_keeper(trainer), "best_model_path", "") or ""))
    return best if best.is_file() else None


def _keeper(trainer: Trainer) -> Any:
    """The callback whose checkpoints are meant: the first that monitors something, else the first."""
    callbacks = attribute(trainer, "callbacks", ())
    keepers = [each for each in callbacks if attribute(each, "best_model_path") is not None]
    return next((each for each in keepers if attribute(each, "monitor")), keepers[0] if keepers else None)


def _tested_facts(trainer: Trainer) -> dict[str, Any]:
    """Epoch and step of the checkpoint that a test runs with, else of the fit before it; none where there was none."""
    path = Path(trainer.ckpt_path) if trainer.ckpt_path else None
    if path is not None and path.is_file():
        return {**_of_saved(trainer.strategy.load_checkpoint(path)), **_file(path)}
    return _now(trainer) if path is None and trainer.global_step else {}


def _epoch(trainer: Trainer) -> int:
    return max(trainer.current_epoch - 1, 0)


def _now(trainer: Trainer) -> dict[str, Any]:
    return {"epoch": _epoch(trainer), "step": trainer.global_step}


def _of_saved(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    return {"epoch": checkpoint.get("epoch"), "step": checkpoint.get("global_step")}


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256(path)}


def _of_file(trainer: Trainer, module: LightningModule, path: Path, words: str, facts: dict[str, Any]) -> Weights:
    if not path.exists():
        raise ValueError(f"`weights` is {str(path)!r}, which is not there. Pass 'best', or a checkpoint that is.")
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
    facts = {**facts, **_of_saved(saved), **_file(path)}
    states = saved.get("callbacks")
    with copied():
        own = member_of(module, member.tensors)
    return Weights(
        standing_copy(own), f"{words}, {member.name}", facts, states=states if isinstance(states, Mapping) else {}
    )


def _average(trainer: Trainer, module: LightningModule) -> Weights:
    """The average that the best checkpoint was validated with; else that of the end of the fit; else what it holds."""
    best = _best_file(trainer)
    found = [] if best is None else read_members(best, module)
    averaged = {member.kind: member for member in found if member.kind in ("ema", "swa")}
    if "ema" not in averaged and _is_averaged(trainer, module):
        last = _last(trainer, module)
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


SOURCES: Mapping[str, Callable[[Trainer, LightningModule], Weights]] = {
    "best": _best, "last": _last, "average": _average, "ensemble": _ensemble, AS_TESTED: _as_tested,
}  # fmt: skip
"""By what users say, and ``AS_TESTED``; anything else is the path of a checkpoint."""
