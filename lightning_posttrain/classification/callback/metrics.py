"""The figures of a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import final

from lightning.pytorch import LightningModule
from typing_extensions import Unpack

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.callback.base import EvaluationOptions
from lightning_posttrain.classification.callback.predictions import KeepsPredictions
from lightning_posttrain.classification.logged_figures import CHARTED, LOGGED, check_patterns, doubtful, matching, usual
from lightning_posttrain.classification.metric.base import Needs
from lightning_posttrain.classification.report_plan import ReportPlan
from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.classification.self_check import agreements, of_results
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation


@final
class ClassificationMetrics(KeepsPredictions):
    """Works out the whole report of a classifier on every validation and test, and logs the figures that one follows.

    Logged as the module's own, on every rank and every validation, so that ``EarlyStopping`` and
    ``ModelCheckpoint`` can monitor ``"val/f1_macro"`` wherever they stand in the list. All figures stand in the
    tables, as text in TensorBoard and as CSV and JSON: accuracy, balanced accuracy, top-k accuracy, Matthews
    correlation, Cohen's kappa, log loss, Brier score and expected calibration error; for each class, and averaged,
    precision, recall, specificity, F-beta, Jaccard index, area under the ROC curve and average precision.

    Predictions of single rows stand in ``predictions.csv``, up to 10,000 of them evenly over the epoch, after a test
    and after the last validation of a fit; ``predictions.json`` says of all whether they were right.

    Args:
        beta: weight of recall in F-beta; 1 gives ``f1``.
        top_k: the ``k`` of the top-k accuracies.
        curves: work out what needs the order of scores: areas under curves, average precision.
        exact: work these out from all scores, however many: all are kept, 4 bytes each, on the device, and under DDP
            gathered on each rank at the end of the epoch; only ``_micro`` is from histograms beyond 4 million scores.
            Default: exact up to 16 MiB of scores, as of 349,000 rows of 10 classes, and from histograms beyond, with
            bounds in the report and a warning where a logged figure may be off by more than 0.001.
        resamples: bootstrap replicates for the 95 % intervals of all that follows from the confusion counts; 0 for
            none. Fewer are drawn where the matrix has very many cells.
        **options: what every callback takes, see ``StreamCallback``. Here ``log`` also says what can be monitored:
            ``["accuracy", "per_class/*"]``; what is a figure's very name is that figure alone.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.callbacks import EarlyStopping
        >>> stop = EarlyStopping(monitor="val/f1_macro", mode="max")
        >>> trainer = Trainer(callbacks=[stop, ClassificationMetrics()], logger=False)
    """

    tag = "classification_report"

    def __init__(
        self,
        *,
        beta: float = 1.0,
        top_k: Sequence[int] | int = (5,),
        curves: bool = True,
        exact: bool = False,
        resamples: int = 1000,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        self.logged = LOGGED[self.reading.task] if self.chosen is None else self.chosen
        self.beta = beta
        self.top_k = (top_k,) if isinstance(top_k, int) else tuple(top_k)
        self.curves = curves
        self.exact = exact
        self.resamples = resamples
        self._plan.check()

    def charts(self) -> tuple[str, ...]:
        """Those that were chosen, else a short set for the task."""
        return (*CHARTED[self.reading.task], "jaccard_*") if self.chosen is None else self.chosen

    @property
    def _plan(self) -> ReportPlan:
        return ReportPlan(self.reading.task, self.beta, self.top_k, self.curves, self.exact, self.resamples)

    def metrics(self) -> Needs:
        """Counts of classes, of ranks and of confidence, sums of losses, and scores."""
        return self._plan.metrics()

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a name in ``log`` that no figure has."""
        super().check(module, batch)
        if self.chosen is not None and not self.results:  # a name of one stage's classes may be none of the next one's
            check_patterns(self.logged, self._plan.report_of_nothing(batch), self.namings(module, batch))

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> ClassificationReport:
        """The figures that follow from what was counted, and which of them are the module's own too."""
        report = self._plan.report(evaluation.results.values(), names, positions=not evaluation.independent)
        ours = of_results(evaluation.results.values(), report.overall.get("log_loss"))
        own = tuple(agreements(ours, evaluation.own, self.reading.target or ""))
        return replace(report, agreements=own, alerts=(*report.alerts, *doubtful(report, self.scalars(report))))

    def scalars(self, result: ClassificationReport) -> dict[str, float]:
        """The figures that were chosen, else those of a short set."""
        more = usual(self.reading.task, result) if self.chosen is None else ()
        return matching((*self.logged, *more), result)

    def show(self, result: ClassificationReport, title: str) -> Iterator[Tagged]:
        """The tables."""
        from lightning_posttrain.classification.render.report import class_table, overall_table

        yield Tagged(self.tag, class_table(result))
        yield Tagged("summary", overall_table(result))
