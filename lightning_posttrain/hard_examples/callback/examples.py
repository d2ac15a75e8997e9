"""The samples that a model finds hardest, and what became of each over the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification import (
    ConfusedPair,
    Confusion,
    ConfusionCounts,
    EvalBatch,
    ShownOptions,
    StreamCallback,
    most_confused,
)
from lightning_posttrain.core.callback.options import at_least, split
from lightning_posttrain.core.capture.loaders import of_other_stages
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation, Needs
from lightning_posttrain.hard_examples.keeping import OF_MEMBERS, RULES, Keeping
from lightning_posttrain.hard_examples.result import HardReport
from lightning_posttrain.samples.inputs import InputOptions, Inputs
from lightning_posttrain.samples.learning import learn_inputs


@final
class HardExamples(StreamCallback):
    """Keeps, of every validation and test, the samples that the model finds hardest, with pictures of their inputs.

    By rule: highest loss, most confident errors, least confident hits; and the worst samples behind the most confused
    pairs of classes. As galleries and tables in TensorBoard, as CSV and a folder of pictures on disk. Exact whatever
    the batches and ranks, pairs as long as there are 64 at most; of equal ones the smaller position in the dataset
    comes first. Inputs that are no images are listed with their values or words. Images are kept at 128 pixels a side.
    Small batches are gathered and looked at together: 16 MiB of inputs on a CPU, 1 in 256 of an accelerator's memory.

    Args:
        k: samples of each rule.
        pairs: confused pairs that are shown.
        per_pair: samples of each, those of highest loss. They are kept of the 64 pairs that are confused most often.
        **options: what every callback takes, see ``StreamCallback``, and how inputs look, see ``InputOptions``:
            ``kind``, ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=HardExamples(k=25, class_names=["cat", "dog"]), logger=False)
    """

    tag = "hard_examples"
    names_samples = True

    def __init__(self, *, k: int = 15, pairs: int = 6, per_pair: int = 5, **options: Unpack[ShownOptions]) -> None:
        shown, others = split(options, InputOptions)
        super().__init__(**others)
        at_least("k", k, 1)
        at_least("pairs", pairs, 0)
        at_least("per_pair", per_pair, 1)
        self.k = k
        self.pairs = pairs
        self.per_pair = per_pair
        self._display = Inputs(**shown)
        self._keeping: dict[str, Keeping] = {}

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep nothing of an epoch that was broken off."""
        self._keeping = of_other_stages(self._keeping, trainer)

    def metrics(self) -> Needs:
        """Confusion counts, for the most confused pairs."""
        return (ConfusionCounts,) if self.pairs else ()

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise where names do not fit."""
        super().check(module, batch)
        if isinstance(batch.inputs, Tensor):
            learn_inputs(self, module.trainer, batch.inputs)
            self._display.check(batch.inputs)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep the hardest."""
        if key not in self._keeping:
            self._keeping[key] = self._new()
        self._keeping[key].offer(batch)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> HardReport:
        """The hardest of all ranks."""
        keeping = self._keeping.pop(evaluation.key, None) or self._new()
        confused: list[ConfusedPair] = []
        if self.pairs and isinstance(confusion := evaluation.result(ConfusionCounts), Confusion):
            confused = most_confused(replace(confusion, class_names=names), self.pairs)
        return keeping.report(names, module.trainer, confused)

    def _new(self) -> Keeping:
        rules = (*RULES, *(OF_MEMBERS if self.reads_members else ()))
        return Keeping(self.k, self.pairs, self.per_pair, self._display, self.reading.captions, rules=rules)

    def show(self, result: HardReport, title: str) -> Iterator[Tagged]:
        """Galleries, tables, and each picture as a file."""
        from lightning_posttrain.hard_examples.render.report import hard_examples

        yield from hard_examples(result, tag=self.tag, title=title)
