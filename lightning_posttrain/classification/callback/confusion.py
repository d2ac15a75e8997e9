"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import final

from lightning.pytorch import LightningModule
from typing_extensions import Unpack

from lightning_posttrain.classification.callback.base import EvaluationOptions, StreamCallback
from lightning_posttrain.classification.functional.confusion import most_confused, most_confused_classes
from lightning_posttrain.classification.metric.base import Needs
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.result.confusion import Confusion, LabelConfusion
from lightning_posttrain.core.callback.options import at_least
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation

READABLE = 22
"""With more classes a matrix is too small to be read in a logger's card."""
WORST = 20


@final
class ConfusionMatrix(StreamCallback):
    """Draws the confusion matrix of every validation and test: rows actual, columns predicted.

    Shown: counts, and up to some 60 classes shares, as pictures, the most confused pairs as a table; all counts as CSV
    and JSON. For more than 22 classes also the matrix of the 20 most confused classes. For a multilabel task how often
    each label was found, missed, and predicted where it is not.

    ``results["val"].counts`` is an int64 tensor ``(C, C)``, sparse for more than 2,048 classes; for multilabel
    ``(L, 2, 2)``.

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
        at_least("max_pairs", max_pairs, 1)
        self.max_pairs = max_pairs

    def metrics(self) -> Needs:
        """Confusion counts."""
        return (ConfusionCounts,)

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> Confusion | LabelConfusion:
        """The counts, with names."""
        confusion: Confusion | LabelConfusion = evaluation.result(ConfusionCounts)
        return replace(confusion, class_names=names)

    def show(self, result: Confusion | LabelConfusion, title: str) -> Iterator[Tagged]:
        """Pictures and tables."""
        if isinstance(result, LabelConfusion):
            yield from self._show_labels(result, title)
            return
        from lightning_posttrain.classification.render.confusion import confusion_image, has_numbers
        from lightning_posttrain.classification.render.confusion_tables import confusion_table, pairs_table

        if not result.counts.is_sparse:
            yield Tagged(self.tag, confusion_image(result, title=title))
            if has_numbers(result.class_names):  # else it would be the same picture
                yield Tagged(f"{self.tag}_normalized", confusion_image(result, title=title, normalized=True))
        if len(result.class_names) > READABLE:
            worst = most_confused_classes(result, WORST) or [0]
            heading = f"{title} · most confused of {len(result.class_names)} classes"
            yield Tagged("most_confused_classes", confusion_image(result.of(worst), title=heading))
        yield Tagged("confused_pairs", pairs_table(result, most_confused(result, self.max_pairs)))
        yield Tagged(self.tag, confusion_table(result))

    def _show_labels(self, result: LabelConfusion, title: str) -> Iterator[Tagged]:
        from lightning_posttrain.classification.render.confusion_tables import labels_table
        from lightning_posttrain.classification.render.labels import labels_image

        yield Tagged(self.tag, labels_image(result, title=title))
        yield Tagged("label_counts", labels_table(result))
