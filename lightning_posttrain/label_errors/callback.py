"""What each sample does over the epochs, and whose label is probably wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification import LOSS, EvalBatch, ShownOptions, StreamCallback
from lightning_posttrain.core.callback.options import split
from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.capture.loaders import named_loaders, of_other_stages, stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.hard_examples import HardGroup, HardReport, Keeping
from lightning_posttrain.label_errors.functional.history import HistoryTable
from lightning_posttrain.label_errors.result import Events, SampleHistory
from lightning_posttrain.samples.inputs import InputOptions, Inputs

MEMORY = 1 << 27
"""Bytes of a table; with more, probabilities are left out, and with more still, nothing is kept."""
KEPT, SHOWN = 40, 20
"""Errors whose inputs are kept, and suspects of these that are shown, at most."""
EACH, EACH_CLASS = 44, 8
"""Bytes of a sample, and of each of its probabilities."""


@dataclass(eq=False)
class _Past:
    """What is known of a loader: its table, how many epochs it has seen and what happened in each."""

    table: HistoryTable
    events: list[Events] = field(default_factory=list)


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

    128 MiB of a table at most: 44 bytes a sample, and 8 for each of its classes; without room for these, no labels are
    suspected. What was seen in fit is saved in the checkpoint, so that a run that is resumed goes on.

    Args:
        **options: what every callback takes, see ``StreamCallback``, and how inputs look, see ``InputOptions``:
            ``kind``, ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=LabelErrors(class_names=["cat", "dog"]), logger=False)
    """

    tag = "label_errors"
    names_samples = True

    def __init__(
        self,
        **options: Unpack[ShownOptions],
    ) -> None:
        shown, others = split(options, InputOptions)
        super().__init__(**others)
        if self.reading.task == "multilabel":
            raise ValueError("`task` is 'multilabel', and LabelErrors is for one class a row.")
        self._display = Inputs(**shown)
        self._keeping: dict[str, Keeping] = {}
        self._sizes: dict[str, int] = {}
        self._past: dict[str, _Past] = {}
        self._loaded: dict[str, Any] = {}
        self._goes_on = False
        self._said: set[str] = set()

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; each has a history of its own, unless it is resumed."""
        self._past, self._said, self._loaded = {}, set(), {}
        self._goes_on = stage == "fit"

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Learn how long the datasets are."""
        self._keeping = of_other_stages(self._keeping, trainer)
        for suffix, loader, _ in named_loaders(trainer):
            dataset = getattr(loader, "dataset", None)
            if isinstance(dataset, Sized):
                self._sizes[stage_of(trainer) + suffix] = len(dataset)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Note how each sample fares."""
        if batch.index is None or len(batch.index) != len(batch.target) or key not in self._sizes:
            return self._say(key, "positions of its samples in the dataset are not known")
        past = self._past_of(key, batch.num_classes, batch.scores.device)
        if past is not None:
            rows, keeps = batch.rows(LOSS), past.table.keeps_probabilities
            chance = batch.scores.softmax(1) if keeps else None
            facts = (rows["target"], rows["predicted"], rows.log_loss, chance, rows.counted)
            past.table.add(batch.index.to(batch.scores.device), *facts)
            self._keeping.setdefault(key, self._new()).offer(batch)
        return None

    def _new(self) -> Keeping:
        return Keeping(KEPT, 0, 1, self._display, self.reading.captions, rules=("confident_errors",))

    def _past_of(self, key: str, classes: int, device: torch.device) -> _Past | None:
        """The past of a loader, begun if it has none; None where it would take too much memory."""
        size = self._sizes[key]
        if key in self._past and self._past[key].table.size != size:
            rank_zero_info(f"LabelErrors begins anew for {key}: its dataset has {size:,} samples now.")
            del self._past[key]
        if key not in self._past:
            if size * EACH > MEMORY:
                self._say(key, f"{size:,} samples are more than the {MEMORY // EACH:,} there is room for")
                return None
            keep = size * (EACH + EACH_CLASS * classes) <= MEMORY
            self._past[key] = past = _Past(HistoryTable(size, classes, keep_probabilities=keep, device=device))
            if key in self._loaded:
                self._go_on(key, past)
        return self._past[key]

    def _go_on(self, key: str, past: _Past) -> None:
        """Take up what a checkpoint had, if it is of such a dataset."""
        kept = self._loaded.pop(key)
        try:
            past.table.load_state_dict(kept["table"])
            past.events = [Events(*event) for event in kept["events"]]
        except ValueError:
            rank_zero_info(f"LabelErrors begins anew for {key}: the checkpoint's dataset was another one.")

    def _say(self, key: str, reason: str) -> None:
        if key not in self._said:
            self._said.add(key)
            rank_zero_info(f"LabelErrors follows no samples of {key}: {reason}.")

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> SampleHistory | None:
        """The histories, of all ranks together."""
        trainer, key = module.trainer, evaluation.key
        past = self._past.get(key)
        if trainer.strategy.reduce_boolean_decision(past is not None, all=False) and past is None:
            past = self._past_of(key, len(evaluation.names), module.device)
        if past is None:
            return None
        if trainer.world_size > 1:
            rank, world = trainer.global_rank, trainer.world_size
            past.table.merge_across(lambda each: _sum(trainer, each), rank=rank, world=world)
        past.table.end_epoch()
        result = past.table.result(names)
        if result.events is not None:
            past.events.append(result.events._replace(epoch=trainer.current_epoch))
        kept = (self._keeping.pop(key, None) or self._new()).report(names, trainer, [])
        return replace(result, past=tuple(past.events), gallery=_gallery(result, kept))

    def show(self, result: SampleHistory, title: str) -> Iterator[Tagged]:
        """The suspects, events over the epochs, all samples."""
        from lightning_posttrain.label_errors.render import label_errors

        yield from label_errors(result, tag=self.tag, title=title)

    def scalars(self, result: SampleHistory) -> dict[str, float]:
        """Samples learned, forgotten and always wrong, and suspects."""
        return {f"{self.tag}/{name}": value for name, value in result.scalars().items()}

    # a run that is resumed goes on where it was

    def kept(self) -> dict[str, Any]:
        """The histories."""
        mine = {
            key: {"table": past.table.state_dict(), "events": [list(event) for event in past.events]}
            for key, past in self._past.items()
        }
        return {**self._loaded, **mine}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on with histories, when their first batch comes; a validation alone has a history of its own."""
        self._loaded = dict(state) if self._goes_on else {}


def _gallery(result: SampleHistory, kept: HardReport) -> HardReport:
    """The suspects that are among the most confident errors of the epoch, whose inputs were kept."""
    (errors,) = kept.groups
    place = {example.index: row for row, example in enumerate(errors.examples)}
    rows = [place[i] for i in result.index[result.suspects].tolist() if i in place][:SHOWN]
    shown = None if errors.shown is None else errors.shown[rows]
    examples = tuple(errors.examples[row] for row in rows)
    group = HardGroup("suspects", "labels that are probably wrong: label → prediction", examples, shown)
    return replace(kept, groups=(group,))


def _sum(trainer: Trainer, values: Tensor) -> Tensor:
    total: Tensor = trainer.strategy.reduce(values, reduce_op="sum")
    return total
