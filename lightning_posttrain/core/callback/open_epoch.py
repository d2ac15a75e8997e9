"""A callback carries a training epoch that has not ended over a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_posttrain.core.stream.open_epoch import KEY
from lightning_posttrain.core.stream.stream import EvaluationStream

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class CarriesOpenEpoch:
    """For a callback of the stream; the first of all writes and reads what is common to them."""

    stages: tuple[str, ...]
    _begun = -1

    def counts_open_epoch(self) -> bool:
        """Whether what it reports of an epoch follows from what a checkpoint holds, though it saw no batch."""
        raise NotImplementedError

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what the training epoch had counted, where it has had its last batch, and not its end."""
        owner: Any = self
        stream = EvaluationStream.of(trainer)
        if stream.leads(owner):
            with owner.guarded(trainer, "keep the figures of the training epoch", _NOT_KNOWN):
                checkpoint.update({KEY: state} if (state := stream.kept(trainer)) else {})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep it until training begins; of an evaluation, which epoch it is of."""
        owner: Any = self
        if trainer.state.fn != "fit":
            EvaluationStream.of(trainer).log.loaded = checkpoint.get("epoch", 0), checkpoint.get("global_step", 0)
        if trainer.state.fn == "fit" and (stream := EvaluationStream.of(trainer)).leads(owner):
            stream.open.take(checkpoint.get(KEY))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with it, and say what of it is not known."""
        owner: Any = self
        self._begun = -1
        stream = EvaluationStream.of(trainer)
        if stream.leads(owner):
            with owner.guarded(trainer, "go on with the training epoch of the checkpoint", _NOT_KNOWN):
                stream.resume(trainer, pl_module)
            owner.note_start(trainer)
        if "train" not in self.stages:
            return
        stream.open.say_lost()
        if stream.open.resumes and not all(part.counts_open_epoch() for part in owner.parts()):
            stream.say_once(
                f"{type(self).__name__} has no report of training for the epoch in which the checkpoint was written: "
                "the samples that it had seen are not in it. Those of later epochs are whole."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        owner: Any = self
        self._begun = trainer.current_epoch
        if EvaluationStream.of(trainer).leads(owner):
            owner.note_training(trainer, pl_module)
        owner._begin(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Listen to a step; begin the epoch before its first where Lightning has not.

        It says nothing of the start of the epoch after a checkpoint that was written behind the last batch of another.
        """
        owner: Any = self
        if batch_idx == 0 and self._begun != trainer.current_epoch:
            self.on_train_epoch_start(trainer, pl_module)
        owner._listen(trainer, pl_module, batch, batch_idx)


_NOT_KNOWN = "Figures of training are not known for the epoch in which the checkpoint was written."
