"""Accuracy, precision, recall and F1."""

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
from lightning_posttrain.functional.classification import classification_report
from lightning_posttrain.metrics import ConfusionCounts
from lightning_posttrain.results import ClassificationReport


@final
class ClassificationMetrics(StreamCallback):
    """Logs accuracy, balanced accuracy, precision, recall and F1 of every validation and test.

    Logged as the module's own, on every rank and every validation, so that ``EarlyStopping`` and
    ``ModelCheckpoint`` can monitor ``"val/f1_macro"`` wherever they stand in the list: ``accuracy``,
    ``balanced_accuracy``, and ``precision``, ``recall``, ``f1`` each with ``_macro`` and ``_weighted``; for each
    class ``per_class/recall/<name>`` and so on. The table of all stands in TensorBoard's text, CSV and JSON.

    Args:
        max_logged_classes: with more classes than this the figures of each class are in the table only.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> stop = EarlyStopping(monitor="val/f1_macro", mode="max")
        >>> trainer = Trainer(callbacks=[stop, ClassificationMetrics()], logger=False)
    """

    tag = "classification_report"

    def __init__(self, *, max_logged_classes: int = 20, **options: Unpack[EvaluationOptions]) -> None:
        super().__init__(**options)
        self.max_logged_classes = max_logged_classes

    def metrics(self) -> Needs:
        """Confusion counts."""
        return (ConfusionCounts,)

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> ClassificationReport:
        """The figures that follow from the counts."""
        return classification_report(replace(evaluation.result(ConfusionCounts), class_names=names))

    def scalars(self, result: ClassificationReport) -> dict[str, float]:
        """The headline figures, and those of each class where they are few."""
        few = len(result.class_names) <= self.max_logged_classes
        return {**result.scalars(), **(result.per_class_scalars() if few else {})}

    def show(self, result: ClassificationReport, title: str) -> Iterator[Tagged]:
        """The table."""
        from lightning_posttrain.render.classification import classification_table

        yield Tagged(self.tag, classification_table(result))
