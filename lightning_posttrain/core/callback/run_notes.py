"""The run as a whole is written at the end of each epoch and stage; the first callback of all does it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lightning_posttrain.core.callback.reporting import writes
from lightning_posttrain.core.callback.scalars import epoch_of, finite_numbers, step_of
from lightning_posttrain.core.capture.loaders import named_loaders, stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.run_log import Moment
from lightning_posttrain.core.stream.run_facts import facts_of, stage_facts
from lightning_posttrain.core.stream.stream import EvaluationStream

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

_CURE = "run.json and history.jsonl lack this epoch."
_PREFIX = {
    "train": re.compile(r"^(train|training)[/_.]"),
    "val": re.compile(r"^(val|valid|validation)[/_.]"),
    "test": re.compile(r"^test[/_.]"),
}


class NotesRun:
    """For a callback of the stream with a ``Reporter``."""

    def note_start(self, trainer: Trainer) -> None:
        """A fit begins, or goes on from a checkpoint."""
        log = EvaluationStream.of(trainer).log
        log.since, log.trained = step_of(trainer) + 1, trainer.current_epoch - 1

    def note_evaluation(self, trainer: Trainer, module: LightningModule) -> None:
        """An evaluation has ended; all ranks together."""
        owner: Any = self
        written: Iterable[Tagged] = ()
        stage = stage_of(trainer)
        with owner.guarded(trainer, "note the epoch", _CURE):
            log, values = EvaluationStream.of(trainer).log, finite_numbers(trainer.callback_metrics)
            logged = {entry.meta.name for entry in _entries(trainer)}
            mine = {name: value for name, value in values.items() if name.split("/dataloader_idx_")[0] in logged}
            log.of_evaluation |= set(mine)
            alone = trainer.state.fn == "validate"
            written = _written(trainer, module, stage, stage, None if alone else mine)
        self._submit(trainer, stage, written)

    def note_training(self, trainer: Trainer, module: LightningModule, *, ended: bool = False) -> None:
        """A training epoch has ended, with all that the module itself logs at its end; all ranks together."""
        owner: Any = self
        stream = EvaluationStream.of(trainer)
        epoch = trainer.current_epoch - 1
        if epoch < 0 or (stream.log.trained == epoch and not ended):
            return
        written: Iterable[Tagged] = ()
        with owner.guarded(trainer, "note the epoch", _CURE):
            values = finite_numbers(trainer.callback_metrics)
            mine = {name: value for name, value in values.items() if name not in stream.log.of_evaluation}
            new, stream.log.trained = stream.log.trained != epoch, epoch
            written = _written(trainer, module, "train", "fit", mine if new else None)
        self._submit(trainer, "fit", written)

    def _submit(self, trainer: Trainer, part: str, written: Iterable[Tagged]) -> None:
        """On the first rank; what was drawn before may have something to raise here, which is not ours to hold back."""
        owner: Any = self
        if writes(trainer):
            owner._reporter.write_files(trainer, f"run {part}", written)


def _written(
    trainer: Trainer, module: LightningModule, stage: str, part: str, values: Mapping[str, float] | None
) -> Iterator[Tagged]:
    """What is to be written.

    Args:
        trainer: of the run.
        module: of the run.
        stage: of the line in the history.
        part: of the run, in ``run.json``.
        values: for the line; None for no line.
    """
    stream = EvaluationStream.of(trainer)
    log, folder = stream.log, stream.outlet.folder
    epoch, step = log.loaded or (epoch_of(trainer, part), step_of(trainer))
    checkpoint = None if trainer.state.fn == "fit" else trainer.ckpt_path
    loaders = [trainer.train_dataloader] if part == "fit" else [one.loader for one in named_loaders(trainer)]
    of = stage_facts(trainer, loaders, epoch=epoch, step=step, checkpoint=str(checkpoint) if checkpoint else None)
    moment = None if values is None else Moment(stage, epoch, step, _named(values, stage), log.seconds())
    return log.written(folder, facts_of(trainer, module, folder), {part: of}, moment)


def _entries(trainer: Trainer) -> list[Any]:
    kept: Any = getattr(trainer, "_results", None)
    return [entry for entry in kept.values() if hasattr(entry, "meta")] if isinstance(kept, dict) else []


def _named(values: Mapping[str, float], stage: str) -> dict[str, float]:
    """Without the stage at their beginning, where that leaves them apart."""
    short = {name: _PREFIX[stage].sub("", name) or name for name in values}
    taken = list(short.values())
    return {(short[name] if taken.count(short[name]) == 1 else name): value for name, value in values.items()}
