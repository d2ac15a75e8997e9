"""Whether probabilities can be believed, and how to mend them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from torch import nn
from typing_extensions import Unpack

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.calibrated import Calibrated
from lightning_posttrain.calibration.calibrators.methods import from_state
from lightning_posttrain.calibration.functional.cross_fit import NONE
from lightning_posttrain.calibration.functional.report import (
    checked_methods,
    cross_fit_rows,
    report_applied,
    report_before,
    report_cross_fitted,
)
from lightning_posttrain.calibration.result import CalibrationReport
from lightning_posttrain.classification import (
    ClassificationMetrics,
    ClassReading,
    EvaluationOptions,
    ScoreRows,
    ScoreSample,
    StreamCallback,
)
from lightning_posttrain.core.callback.fitted_on_validation import FittedOnValidation
from lightning_posttrain.core.callback.options import at_least
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation, Needs

SHARED = ("ece", "brier", "log_loss")
"""Figures that ``ClassificationMetrics`` has too."""


@final
class Calibration(FittedOnValidation, StreamCallback):
    """Measures whether probabilities are what they say, and fits at the end of validation what mends them.

    The reliability diagram, calibration errors (expected, adaptive, class-wise, maximum), the Brier score with its
    parts and the log loss, before and after. What was fitted is judged by cross-fitting, kept only if it makes the log
    loss of held-out rows smaller, saved in the checkpoint, and applied on test as it is. Nothing is fitted on test.

    ``calibrator`` is what was fitted, a module from logits to logits; ``calibrated(network)`` has it behind it.

    Charts get ``ece``, ``brier``, ``log_loss``, ``ece_calibrated`` and ``temperature``; ``log=["calibration/*"]`` all.

    ``ece``, ``brier`` and ``log_loss`` are those of ``ClassificationMetrics``. Where one in the Trainer logs them of
    the same rows, ``val/calibration/ece`` is for monitors, and no logger charts the number a second time.

    Figures are of all rows up to 64 MiB of scores, else of a sample of those, as the report then says: 1.6 million rows
    of 10 classes, 16 thousand of 1,000. A fit is to two million scores of these: 200 thousand rows of 10 classes, 2,000
    of 1,000, whose temperature is within some 2 % of that of all; and 83 rows of 100,000, within some 10 %. The report
    says to how many. Of several validation loaders the first is fitted on.

    Args:
        method: ``"temperature"`` (Guo et al., 2017, arXiv:1706.04599), for all tasks; ``"vector"`` for multiclass;
            ``"platt"`` for binary and multilabel; ``"isotonic"`` for binary, with scikit-learn; or several, of which
            the best is taken.
        bins: of the reliability diagram.
        folds: of the cross-fitting.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=Calibration(method=["temperature", "vector"]), logger=False)
    """

    tag = "calibration"
    charted = tuple(f"calibration/{name}" for name in (*SHARED, "ece_calibrated", "temperature"))

    def __init__(
        self,
        *,
        method: str | Sequence[str] = "temperature",
        bins: int = 15,
        folds: int = 5,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        self.methods = checked_methods(method, self.reading.task)
        at_least("bins", bins, 2)
        at_least("folds", folds, 2)
        self.bins, self.folds = bins, folds

    @property
    def calibrator(self) -> Calibrator:
        """What was fitted, from logits to logits; one that changes nothing where nothing was kept."""
        return from_state(self.fitted or {"method": NONE, "task": self.reading.task})

    def calibrated(self, network: nn.Module) -> Calibrated:
        """A network with what was fitted behind it, for export and serving."""
        return Calibrated(network, self.calibrator, scores=self.reading.scores)

    def columns(self, fitted: dict[str, Any]) -> int | None:
        """How many classes or labels the calibrator has numbers of their own for."""
        return from_state(fitted).columns

    def metrics(self) -> Needs:
        """A bounded sample of scores."""
        return (ScoreSample,)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> CalibrationReport:
        """Figures before and after; on validation of what is fitted now, on test of what was fitted then."""
        rows: ScoreRows = evaluation.result(ScoreSample)
        rows = rows if self.reading.task == "multiclass" and self.methods == ("temperature",) else rows.on_cpu
        report = report_before(rows, self.reading.task, bins=self.bins)
        if self.fits(evaluation):
            found = cross_fit_rows(self.methods, rows, self.reading.task, self.folds)
            self.keep(found.calibrator.to_state(), module)
            return report_cross_fitted(report, found, rows, bins=self.bins)
        columns = rows.scores.shape[1]
        if self.for_these(module, columns) is None:
            return replace(report, reason=self.say_not_fitted(evaluation, columns))
        return report_applied(report, self.calibrator.to(rows.scores.device), rows, bins=self.bins)

    def scalars(self, result: CalibrationReport) -> dict[str, float]:
        """The main figures, before and after, and the temperature; in every epoch, as monitors want it."""
        fitted = {"temperature": result.parameters.get("temperature", 1.0)} if self.methods == ("temperature",) else {}
        return {f"{self.tag}/{name}": value for name, value in {**result.scalars(), **fitted}.items()}

    def shown_by_others(self, trainer: Trainer) -> Collection[str]:
        """What ``ClassificationMetrics`` logs of the same rows."""
        return [f"{self.tag}/{name}" for name in _logged_of(self.reading, trainer)]

    def show(self, result: CalibrationReport, title: str) -> Iterator[Tagged]:
        """The diagram, the figures, the bins."""
        from lightning_posttrain.calibration.render import calibration_artifacts

        yield from calibration_artifacts(result, tag=self.tag, title=title)


def _logged_of(reading: ClassReading, trainer: Trainer) -> list[str]:
    """Figures of ``SHARED`` that ``ClassificationMetrics`` logs in the present stage, of what is read so."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    theirs = [one for one in callbacks if isinstance(one, ClassificationMetrics) and one.takes(trainer)]
    patterns = [name for one in theirs for part in one.parts() if part.reading == reading for name in part.charts()]
    return [name for name in SHARED if any(fnmatchcase(name, one) for one in patterns)]
