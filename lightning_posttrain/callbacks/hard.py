"""The samples that a model finds hardest, and what became of each over the epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Cleared, Tagged
from lightning_posttrain.attribution.explainer import Display
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.hardest import Keeping
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation, Needs
from lightning_posttrain.functional.confusion import most_confused
from lightning_posttrain.loaders import of_other_stages
from lightning_posttrain.metrics import ConfusionCounts
from lightning_posttrain.results import ConfusedPair, Confusion, HardReport, Kind


@final
class HardExamples(StreamCallback):
    """Keeps, of every validation and test, the samples that the model finds hardest, with pictures of their inputs.

    By rule: highest loss, most confident errors, least confident hits; and the worst samples behind the most confused
    pairs of classes. As galleries and tables in TensorBoard, as CSV and a folder of pictures on disk. Exact whatever
    the batches and ranks; of equal ones the smaller position in the dataset comes first. Inputs that are no images are
    listed with their values or words. Images are kept at 128 pixels a side.

    Args:
        k: samples of each rule.
        pairs: confused pairs that are shown.
        per_pair: samples of each. Of all pairs 128 are kept, those of highest loss.
        kind: ``"image"``, ``"spectrogram"``, ``"series"``, ``"tabular"`` or ``"tokens"``; told from the shape.
        mean: of each channel, to undo a normalisation for the eye.
        std: of each channel, likewise.
        bands: three channels to show as red, green and blue.
        names: of features or channels.
        words: of tokens: a list, or a function from a token to its name; one named ``""`` is left out, as padding.
        display_fn: from inputs to images ``(K, H, W, 3)`` in 0 to 1, where none of these is enough.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=HardExamples(k=25, class_names=["cat", "dog"]), logger=False)
    """

    tag = "hard_examples"

    def __init__(
        self,
        *,
        k: int = 15,
        pairs: int = 6,
        per_pair: int = 5,
        kind: Kind | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bands: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        words: Sequence[str] | Callable[[int], str] | None = None,
        display_fn: Callable[[Tensor], Tensor] | None = None,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        for argument, value, least in (("k", k, 1), ("pairs", pairs, 0), ("per_pair", per_pair, 1)):
            if value < least:
                raise ValueError(f"`{argument}` is {value}, wanted at least {least}.")
        self.k = k
        self.pairs = pairs
        self.per_pair = per_pair
        self._display = Display(kind, mean, std, bands, names, words, display_fn)
        self._keeping: dict[str, Keeping] = {}

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep nothing of an epoch that was broken off."""
        self._keeping = of_other_stages(self._keeping, trainer)

    def metrics(self) -> Needs:
        """Confusion counts, for the most confused pairs."""
        return (ConfusionCounts,)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise where names do not fit."""
        super().check(module, batch)
        if isinstance(batch.inputs, Tensor):
            self._display.check(batch.inputs)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep the hardest."""
        if key not in self._keeping:
            self._keeping[key] = self._new()
        self._keeping[key].offer(batch)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> HardReport:
        """The hardest of all ranks."""
        keeping = self._keeping.pop(evaluation.key, None) or self._new()
        confusion = evaluation.result(ConfusionCounts)
        confused: list[ConfusedPair] = []
        if isinstance(confusion, Confusion) and self.pairs:
            confused = most_confused(replace(confusion, class_names=names), self.pairs)
        return keeping.report(names, module.trainer, confused)

    def _new(self) -> Keeping:
        return Keeping(self.k, self.pairs, self.per_pair, self._display)

    def show(self, result: HardReport, title: str) -> Iterator[Tagged]:
        """Galleries, tables, and each picture as a file."""
        from lightning_posttrain.render.hard import cells_image, group_image, pictures
        from lightning_posttrain.render.hard_tables import all_table, group_table

        # pictures of the last report go, of which there may have been more
        for name in (*(group.name for group in result.groups), "cells", "confused_pairs"):
            yield Tagged(f"{self.tag}/{name}", Cleared())
        for group in result.groups:
            image = group_image(result, group, title)
            if image is not None:
                yield Tagged(f"{self.tag}/{group.name}", image)
            yield Tagged(f"{self.tag}/{group.name}_samples", group_table(result, group))
        confused = cells_image(result, title)
        if confused is not None:
            yield Tagged(f"{self.tag}/confused_pairs", confused)
        yield Tagged(self.tag, all_table(result))
        for name, picture in pictures(result):
            yield Tagged(f"{self.tag}/{name}", picture)
