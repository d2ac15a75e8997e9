"""The figures of a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import final

from lightning.pytorch import LightningModule
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation, Needs
from lightning_posttrain.functional.report import Findings, classification_report
from lightning_posttrain.metrics import (
    ConfusionCounts,
    ExactScores,
    LossSums,
    RankCounts,
    ReliabilityBins,
    ScoreHistograms,
)
from lightning_posttrain.results import ClassificationReport, Result
from lightning_posttrain.tasks import Task

LOGGED: dict[Task, tuple[str, ...]] = {
    "multiclass": ("accuracy", "balanced_accuracy", "f*_macro", "f*_weighted", "mcc", "auroc_macro", "log_loss", "ece"),
    "binary": (
        "accuracy", "balanced_accuracy", "precision", "recall", "f?", "f?.?", "mcc", "auroc", "average_precision",
        "log_loss", "ece",
    ),
    "multilabel": (
        "accuracy", "hamming_loss", "f*_macro", "f*_micro", "auroc_macro", "average_precision_macro", "log_loss",
    ),
}  # fmt: skip


@final
class ClassificationMetrics(StreamCallback):
    """Works out the whole report of a classifier on every validation and test, and logs the figures that one follows.

    Logged as the module's own, on every rank and every validation, so that ``EarlyStopping`` and
    ``ModelCheckpoint`` can monitor ``"val/f1_macro"`` wherever they stand in the list. All figures stand in the
    tables, as text in TensorBoard and as CSV and JSON: accuracy, balanced accuracy, top-k accuracy, Matthews
    correlation, Cohen's kappa, log loss, Brier score and expected calibration error; for each class, and averaged,
    precision, recall, specificity, F-beta, Jaccard index, area under the ROC curve and average precision.

    Args:
        log: names of the figures that are logged, with ``*`` for any letters, as ``["accuracy", "per_class/*"]``.
            Default: a short set for the task.
        beta: weight of recall in F-beta; 1 gives ``f1``.
        top_k: the ``k`` of the top-k accuracies.
        curves: work out what needs the order of scores: areas under curves, average precision.
        exact: work these out, but for ``_micro``, from all scores instead of from histograms. All are kept, 4 bytes
            each, on the device, and under DDP gathered on each rank at the end of the epoch.
        resamples: bootstrap replicates for the 95 % intervals of all that follows from the confusion counts; 0 for
            none. Fewer are drawn where the matrix has very many cells.
        **options: what every callback takes, see ``StreamCallback``.

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
        log: Sequence[str] | None = None,
        beta: float = 1.0,
        top_k: Sequence[int] | int = (5,),
        curves: bool = True,
        exact: bool = False,
        resamples: int = 1000,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        if beta <= 0:
            raise ValueError(f"`beta` is {beta}, wanted more than 0.")
        if resamples < 0:
            raise ValueError(f"`resamples` is {resamples}, wanted 0 for no intervals, or about 1000.")
        tops = (top_k,) if isinstance(top_k, int) else tuple(top_k)
        if any(not 1 <= k <= 1000 for k in tops):
            raise ValueError(f"`top_k` is {list(tops)}, wanted numbers from 1 to 1000.")
        self.logged = LOGGED[self.reading.task] if log is None else ((log,) if isinstance(log, str) else tuple(log))
        self.chosen = log is not None
        self.beta = beta
        self.top_k = tops
        self.curves = curves
        self.exact = exact
        self.resamples = resamples

    def metrics(self) -> Needs:
        """Counts of classes, of ranks and of confidence, sums of losses, and histograms of scores."""
        ranks = (RankCounts,) if self.top_k else ()
        curves = (ScoreHistograms,) if self.curves else ()
        exact = (ExactScores,) if self.curves and self.exact else ()
        return (ConfusionCounts, LossSums, ReliabilityBins, *ranks, *curves, *exact)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a name in ``log`` that no figure has."""
        super().check(module, batch)
        if self.chosen:
            names = self.class_names or tuple(map(str, range(batch.num_classes)))
            known = list(self._empty(batch, names).scalars())
            unknown = [name for name in self.logged if not any(fnmatchcase(one, name) for one in known)]
            # names of classes may come from the dataset, and are known at the end
            unknown = [name for name in unknown if not name.startswith("per_class/")]
            if unknown:
                begin = [name for name in known if name.startswith(unknown[0])]
                close = begin or get_close_matches(unknown[0], known, 1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                whole = ", ".join(name for name in known if not name.startswith("per_class/"))
                raise ValueError(f"`log` has {unknown[0]!r}, which no figure is called.{hint} There are {whole}.")

    def _empty(self, batch: EvalBatch, names: tuple[str, ...]) -> ClassificationReport:
        """The report of no rows, for its names."""
        found = [kind.of_nothing(batch.num_classes, multilabel=batch.multilabel) for kind in self.metrics()]
        return self._report_of(found, names, 0)

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> ClassificationReport:
        """The figures that follow from what was counted."""
        return self._report_of(evaluation.results.values(), names, self.resamples, positions=not evaluation.independent)

    def _report_of(
        self, results: Iterable[Result], names: tuple[str, ...], resamples: int, *, positions: bool = False
    ) -> ClassificationReport:
        return classification_report(
            Findings.of(results, names),
            binary=self.reading.task == "binary",
            beta=self.beta,
            top_k=self.top_k,
            resamples=resamples,
            positions=positions,
        )

    def scalars(self, result: ClassificationReport) -> dict[str, float]:
        """The figures that were chosen."""
        # the mean intersection over union is what a segmentation is known by
        more = ("jaccard_macro",) if result.positions and not self.chosen else ()
        wanted = (*self.logged, *more)
        return {k: value for k, value in result.scalars().items() if any(fnmatchcase(k, one) for one in wanted)}

    def show(self, result: ClassificationReport, title: str) -> Iterator[Tagged]:
        """The tables."""
        from lightning_posttrain.render.classification import class_table, overall_table

        yield Tagged(self.tag, class_table(result))
        yield Tagged("summary", overall_table(result))
