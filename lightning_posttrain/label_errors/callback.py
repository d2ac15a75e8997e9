"""What each sample does over the epochs, and whose label is probably wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification import LOSS, EvalBatch, ShownOptions, StreamCallback
from lightning_posttrain.core.callback.options import split
from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.capture.foreign import attribute, length
from lightning_posttrain.core.capture.loaders import epoch_is_read, named_loaders, of_other_stages, stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.hard_examples import HardGroup, HardReport, Keeping
from lightning_posttrain.label_errors.functional.histories import Histories, Past
from lightning_posttrain.label_errors.result import SampleHistory
from lightning_posttrain.samples.inputs import InputOptions, Inputs
from lightning_posttrain.samples.learning import learn_inputs

KEPT, SHOWN = 40, 20
"""Errors whose inputs are kept, and suspects of these that are shown, at most."""


@dataclass(frozen=True, eq=False)
class _Shown:
    """The last result of a loader in a fit, all of whose samples are written when the run ends."""

    place: str
    suffix: str
    result: SampleHistory
    epoch: int


@final
class LabelErrors(KeptState, StreamCallback):
    """Follows every sample over the epochs, and lists those whose label is probably wrong.

    Per sample: how often it was learned (wrong before, right now) and forgotten, in how many epochs it was wrong, its
    last loss, and by confident learning (Northcutt et al., 2021, doi:10.1613/jair.1.12125), on probabilities averaged
    over the last epochs, whether its label is a probable error, ranked by its margin to the most probable other class.
    The suspects as a table and a gallery, events over the epochs as a picture, all samples as a CSV file.

    For one class a row, and for loaders whose sampler tells positions: those that do not shuffle, and
    ``HardExampleSampler``. Predictions should be for samples that were not trained on, as in validation; of samples
    that were, a network learns the errors too, so give training stages (``stages=["train"]``) few epochs.

    A table of 256 MiB at most: of more than 5 million samples, every second, or third and so on, is followed, and where
    there is no room for the probabilities of all classes, no labels are suspected; both are said. Up to 1 MiB all is
    exact. A larger table has about 10 bytes a sample in the checkpoint: counts are exact, losses are rounded to 3
    digits, and probabilities so that a score is known to within 0.01. What was seen in fit is saved in the checkpoint,
    so that a run that is resumed goes on. The file of all samples is written when the run ends.

    Args:
        **options: what every callback takes, see ``StreamCallback``, and how inputs look, see ``InputOptions``:
            ``kind``, ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=LabelErrors(class_names=["cat", "dog"]), logger=False)
    """

    tag = "label_errors"
    charted = ("label_errors/suspects",)
    keeps = "the histories of samples"
    names_samples = True

    def __init__(self, **options: Unpack[ShownOptions]) -> None:
        shown, others = split(options, InputOptions)
        super().__init__(**others)
        if self.reading.task == "multilabel":
            raise ValueError("`task` is 'multilabel', and LabelErrors is for one class a row.")
        self._display = Inputs(**shown)
        self._keeping: dict[str, Keeping] = {}
        self._histories = Histories()
        self._shown: dict[str, _Shown] = {}
        self._fits = False
        self._said: set[tuple[str, str]] = set()

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; each has a history of its own, unless it is resumed."""
        self._histories, self._shown, self._said = Histories(), {}, set()
        self._fits = stage == "fit"

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep nothing of an epoch that was broken off."""
        self._keeping = of_other_stages(self._keeping, trainer)
        self._measure(trainer)

    def _measure(self, trainer: Trainer) -> None:
        for suffix, loader, _ in named_loaders(trainer):
            self._histories.sizes[stage_of(trainer) + suffix] = length(attribute(loader, "dataset"))

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """See how inputs look."""
        super().check(module, batch)
        learn_inputs(self, module.trainer, batch.inputs)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Note how each sample fares."""
        reason = self._not_followed(key, batch)
        if reason or batch.index is None:
            return self._say(key, f"follows no samples of {key}: {reason}")
        past = self._past_of(key, batch.num_classes, batch.scores.device)
        if past is not None:
            rows, table = batch.rows(LOSS), past.table
            chance = batch.scores.softmax(1) if table.keeps_probabilities else None
            place, followed = past.place(batch.index.to(batch.scores.device))
            table.add(place, rows["target"], rows["predicted"], rows.log_loss, chance, rows.counted & followed)
            past.open, past.ended = None, None
            self._keeping.setdefault(key, self._new()).offer(batch)
        return None

    def _not_followed(self, key: str, batch: EvalBatch) -> str:
        """Why samples of a loader are not followed; nothing where they are."""
        if batch.multilabel:
            return "each has several labels, and this is for one class a sample"
        if batch.samples is not None:
            return "each has a class at many positions, as a mask has, and this is for one class a sample"
        if batch.index is None:
            return "positions of its samples in the dataset are not known"
        return "" if self._histories.sizes.get(key) else "its dataset does not tell how long it is"

    def _new(self) -> Keeping:
        return Keeping(KEPT, 0, 1, self._display, self.reading.captions, rules=("confident_errors",))

    def _past_of(self, key: str, classes: int, device: torch.device) -> Past | None:
        past, said = self._histories.past(key, classes, device)
        for sentence in said:
            self._say(key, sentence)
        return past

    def _say(self, key: str, sentence: str) -> None:
        if (key, sentence) not in self._said:
            self._said.add((key, sentence))
            rank_zero_info(f"LabelErrors {sentence}.")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring together what ranks have of a training epoch, before a checkpoint is saved that ends it."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and epoch_is_read(trainer):
            for part in self.parts():
                part._note_training(trainer)
        self._end(trainer, pl_module)

    def _note_training(self, trainer: Trainer) -> None:
        past = self._histories.known.get("train")
        if "train" in self.stages and trainer.strategy.reduce_boolean_decision(past is not None, all=True) and past:
            _merge(past, trainer)
            past.open = trainer.current_epoch

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> SampleHistory | None:
        """The histories, of all ranks together."""
        trainer, key = module.trainer, evaluation.key
        self._measure(trainer)
        past = self._histories.known.get(key)
        if trainer.strategy.reduce_boolean_decision(past is not None or evaluation.resumed, all=False) and past is None:
            past = self._past_of(key, len(evaluation.names), module.device)
        if past is None:
            return None
        if not evaluation.resumed:
            _merge(past, trainer)
            past.end_epoch(trainer.current_epoch)
        elif past.ended != trainer.current_epoch:
            return None
        past.open, past.ended = None, None
        result = past.result(names, passes=self._fits)
        if not evaluation.resumed:
            kept = (self._keeping.pop(key, None) or self._new()).report(names, trainer, [])
            result = replace(result, gallery=_gallery(result, kept))
        if self._fits:
            place = self.place(evaluation), evaluation.suffix
            self._shown[evaluation.label] = _Shown(*place, result, trainer.current_epoch)
        return result

    def counts_open_epoch(self) -> bool:
        """Where the checkpoint has its training epoch."""
        return self._histories.ends_training

    def show(self, result: SampleHistory, title: str) -> Iterator[Tagged]:
        """The suspects, events over the epochs, all samples."""
        from lightning_posttrain.label_errors.render import label_errors

        yield from label_errors(result, tag=self.tag, title=title, samples=not self._fits)

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Write all samples at the end of a fit."""
        self._write_samples(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write all samples where a fit is broken off."""
        for part in self.parts():
            part._write_samples(trainer)
        super().on_exception(trainer, pl_module, exception)

    def _write_samples(self, trainer: Trainer) -> None:
        from lightning_posttrain.label_errors.render import samples_file

        shown, self._shown = self._shown, {}
        for each in shown.values():
            artifacts = (Tagged(f"{self.tag}/samples", samples_file(one.result)) for one in [each])
            self._reporter.write(
                trainer, each.place, each.suffix, tag=self.tag, result=each.result, shown=artifacts, epoch=each.epoch
            )

    def scalars(self, result: SampleHistory) -> dict[str, float]:
        """Samples learned, forgotten and always wrong, and suspects."""
        return {f"{self.tag}/{name}": value for name, value in result.scalars().items()}

    # a run that is resumed goes on where it was

    def kept(self) -> dict[str, Any]:
        """The histories."""
        return self._histories.state_dict()

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on with histories, when their first batch comes; a validation alone has a history of its own."""
        if self._fits:
            self._histories.load_state_dict(state)


def _gallery(result: SampleHistory, kept: HardReport) -> HardReport:
    """The suspects that are among the most confident errors of the epoch, whose inputs were kept."""
    (errors,) = kept.groups
    place = {example.index: row for row, example in enumerate(errors.examples)}
    rows = [place[i] for i in result.index[result.suspects].tolist() if i in place][:SHOWN]
    shown = None if errors.shown is None else errors.shown[rows]
    examples = tuple(errors.examples[row] for row in rows)
    group = HardGroup("suspects", "labels that are probably wrong: label → prediction", examples, shown)
    return replace(kept, groups=(group,))


def _merge(past: Past, trainer: Trainer) -> None:
    if trainer.world_size > 1:
        rank, world = trainer.global_rank, trainer.world_size
        past.table.merge_across(lambda each: _sum(trainer, each), rank=rank, world=world)


def _sum(trainer: Trainer, values: Tensor) -> Tensor:
    total: Tensor = trainer.strategy.reduce(values, reduce_op="sum")
    return total
