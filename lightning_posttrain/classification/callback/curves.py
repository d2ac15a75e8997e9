"""ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification.callback.base import EvaluationOptions, StreamCallback
from lightning_posttrain.classification.functional.curves import curve_report, points_at
from lightning_posttrain.classification.functional.ranking import precision_recall_curve, roc_curve
from lightning_posttrain.classification.metric.base import Needs
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.result.curves import CurveReport
from lightning_posttrain.classification.result.scores import ranked_of
from lightning_posttrain.core.output.artifacts import PrecisionRecall, Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.stream import EvaluationStream

THRESHOLDS = 127
"""As many as TensorBoard's own curves have."""
LISTED, FEW = 10, 4
"""Classes with points in the file, and so many that each has a curve of TensorBoard's own."""


@final
class ScoreCurves(StreamCallback):
    """Draws the ROC and the precision-recall curve of each class, and of all together, at every validation and test.

    For a binary task the curves are those of class 1, for others of each class against the rest. With more than ten
    classes the five with the smallest areas are in colour. Where all curves bend close to the corner, that corner is
    drawn. The counts behind them stand in a CSV file, and in
    TensorBoard's own "PR curves" page, where a threshold can be moved: those of all classes together, and of each class
    where they are four at most.

    ``ClassificationMetrics`` logs the areas, which are the same.

    Args:
        max_curves: how many classes have a curve of TensorBoard's own, and points in the file, at most. Default: ten in
            the file.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=ScoreCurves(task="binary"), logger=False)
    """

    tag = "score_curves"

    def __init__(self, *, max_curves: int | None = None, **options: Unpack[EvaluationOptions]) -> None:
        super().__init__(**options)
        if max_curves is not None and max_curves < 0:
            raise ValueError(f"`max_curves` is {max_curves}, wanted 0 or more.")
        self.max_curves = max_curves

    def metrics(self) -> Needs:
        """Scores, or histograms of them."""
        return (ScoreHistograms,)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> CurveReport | None:
        """The areas and what they follow from."""
        found = ranked_of(evaluation.results.values())
        assert found is not None
        if not found.drawn:
            text = f"ScoreCurves draws no curves of {len(names)} classes; 4,096 are the most."
            EvaluationStream.of(module.trainer).say_once(text)
            return None
        return curve_report(found, names, binary=self.reading.task == "binary")

    def show(self, result: CurveReport, title: str) -> Iterator[Tagged]:
        """Two pictures, the areas, the points, and TensorBoard's own curves."""
        from lightning_posttrain.classification.render.curves import (
            areas_table,
            points_table,
            precision_recall_image,
            roc_image,
        )

        each, together = result.counts.sides, result.together.sides
        roc, micro_roc = roc_curve(*each), roc_curve(*together)
        yield Tagged("roc_curve", roc_image(result, roc, micro_roc, title))
        pr, micro_pr = precision_recall_curve(*each), precision_recall_curve(*together)
        yield Tagged("precision_recall_curve", precision_recall_image(result, pr, micro_pr, title))
        yield Tagged("areas_under_curves", areas_table(result))
        few = slice(0, LISTED if self.max_curves is None else self.max_curves)
        thresholds = torch.linspace(0, 1, THRESHOLDS, dtype=torch.float64)
        points = points_at(result.counts, thresholds)
        names = result.class_names[few]
        threshold, *counts = (column[:, few] for column in points)
        yield Tagged("curve_points", points_table(names, threshold, tuple(counts)))
        if len(result.class_names) > 1:
            yield from _own_curves({"pr_curve_of_all": 0}, points_at(result.together, thresholds)[1:])
        if self.max_curves is not None or len(result.class_names) <= FEW:
            yield from _own_curves({f"pr_curve/{name}": k for k, name in enumerate(names)}, counts)


def _own_curves(columns: Mapping[str, int], counts: Sequence[Tensor]) -> Iterator[Tagged]:
    """Curves that TensorBoard draws itself, by tag, of columns of counts at thresholds."""
    for tag, column in columns.items():
        yield Tagged(tag, PrecisionRecall(*(count[:, column] for count in counts)))
