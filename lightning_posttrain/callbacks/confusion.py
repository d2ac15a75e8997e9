"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import final

from lightning.pytorch import LightningModule
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation, Needs
from lightning_posttrain.functional.confusion import most_confused
from lightning_posttrain.metrics import ConfusionCounts
from lightning_posttrain.results import Confusion


@final
class ConfusionMatrix(StreamCallback):
    """Draws the confusion matrix of every validation and test: rows actual, columns predicted.

    Shown: counts and shares as pictures, the most confused pairs as a table; all counts as CSV and JSON.
    ``results["val"].counts`` is an int64 tensor ``(C, C)``.

    Args:
        max_pairs: how many confused pairs the table lists.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=ConfusionMatrix(class_names=["cat", "dog"]), logger=False)
    """

    tag = "confusion_matrix"

    def __init__(self, *, max_pairs: int = 10, **options: Unpack[EvaluationOptions]) -> None:
        super().__init__(**options)
        if max_pairs < 1:
            raise ValueError(f"`max_pairs` is {max_pairs}, wanted at least 1.")
        self.max_pairs = max_pairs

    def metrics(self) -> Needs:
        """Confusion counts."""
        return (ConfusionCounts,)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Confusion:
        """The counts, with names."""
        confusion: Confusion = evaluation.result(ConfusionCounts)
        return replace(confusion, class_names=names)

    def show(self, result: Confusion, title: str) -> Iterator[Tagged]:
        """Two pictures and two tables."""
        from lightning_posttrain.render.confusion import confusion_image, confusion_table, pairs_table

        yield Tagged(self.tag, confusion_image(result, title=title))
        yield Tagged(f"{self.tag}_normalized", confusion_image(result, title=title, normalized=True))
        yield Tagged("confused_pairs", pairs_table(result, most_confused(result, self.max_pairs)))
        yield Tagged(self.tag, confusion_table(result))
