"""Which metrics a report of a classifier needs of the stream, and how it follows from what they counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.metric.base import Needs
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.metric.probabilities import LossSums, RankCounts, ReliabilityBins
from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.classification.tasks import Task
from lightning_posttrain.core.output.result import Result


@dataclass(frozen=True)
class ReportPlan:
    """What a report of a classifier is to have.

    Args:
        task: what scores mean.
        beta: weight of recall in F-beta.
        top_k: the ``k`` of the top-k accuracies.
        curves: areas under curves, average precision.
        exact: these from all scores, however many.
        resamples: bootstrap replicates; 0 for no intervals.
    """

    task: Task
    beta: float = 1.0
    top_k: tuple[int, ...] = ()
    curves: bool = False
    exact: bool = False
    resamples: int = 0

    @classmethod
    def of_figures(cls, figures: Sequence[str], task: Task) -> ReportPlan:
        """The plan of a report that has these figures, and no more than it must."""
        tops = tuple(int(name.split("_")[1]) for name in figures if name.startswith("top_"))
        curves = any(name.startswith(("auroc", "average_precision")) for name in figures)
        return cls(task, top_k=tops, curves=curves)

    def check(self) -> None:
        """Raise ``ValueError`` for an argument that is out of its range."""
        if self.beta <= 0:
            raise ValueError(f"`beta` is {self.beta}, wanted more than 0.")
        if self.resamples < 0:
            raise ValueError(f"`resamples` is {self.resamples}, wanted 0 for no intervals, or about 1000.")
        if any(not 1 <= k <= 1000 for k in self.top_k):
            raise ValueError(f"`top_k` is {list(self.top_k)}, wanted numbers from 1 to 1000.")

    def metrics(self) -> Needs:
        """Counts of classes, of ranks and of confidence, sums of losses, and scores."""
        ranks = (RankCounts,) if self.top_k else ()
        scores: Needs = (ExactScores if self.exact else ScoreHistograms,) if self.curves else ()
        return (ConfusionCounts, LossSums, ReliabilityBins, *ranks, *scores)

    def report(
        self, results: Iterable[Result], class_names: tuple[str, ...] | None = None, *, positions: bool = False
    ) -> ClassificationReport:
        """Work out the report.

        Args:
            results: of the metrics.
            class_names: a name for each class. Default: the indices.
            positions: whether several rows are of one sample, as pixels of an image are.
        """
        return classification_report(
            Findings.of(results, class_names),
            binary=self.task == "binary",
            beta=self.beta,
            top_k=self.top_k,
            resamples=self.resamples,
            positions=positions,
        )

    def report_of_nothing(self, batch: EvalBatch, class_names: tuple[str, ...] | None = None) -> ClassificationReport:
        """The report of no rows, of as many classes as a batch has, for the names of its figures."""
        found = [kind.of_nothing(batch.num_classes, multilabel=batch.multilabel) for kind in self.metrics()]
        return replace(self, resamples=0).report(found, class_names)
