"""Whether probabilities can be believed, and how to mend them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.calibrators import Calibrated, Calibrator, check_method, from_state
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.fitted import FittedOnValidation
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation, Needs
from lightning_posttrain.functional.calibration import calibration_figures
from lightning_posttrain.functional.cross_fit import NONE, cross_fit
from lightning_posttrain.metrics import ScoreSample
from lightning_posttrain.results import CalibrationFigures, CalibrationReport, ScoreRows

FITTED, FEWEST = 1 << 21, 2000
"""Scores that are fitted to, and rows at least: with 1,000 classes a fit to more takes seconds of each epoch."""


@final
class Calibration(FittedOnValidation, StreamCallback):
    """Measures whether probabilities are what they say, and fits at the end of validation what mends them.

    The reliability diagram, calibration errors (expected, adaptive, class-wise, maximum), the Brier score with its
    parts and the log loss, before and after. What was fitted is judged by cross-fitting, kept only if it makes the log
    loss of held-out rows smaller, saved in the checkpoint, and applied on test as it is. Nothing is fitted on test.

    ``calibrator`` is what was fitted, a module from logits to logits; ``calibrated(network)`` has it behind it.

    Figures are of all rows up to 64 MiB of scores, else of a sample of those, as the report then says: 1.6 million rows
    of 10 classes, 16 thousand of 1,000. A fit is to two million scores of these: 200 thousand rows of 10 classes, 2,000
    of 1,000, whose temperature is within some 2 % of that of all. Of several validation loaders the first is fitted on.

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

    def __init__(
        self,
        *,
        method: str | Sequence[str] = "temperature",
        bins: int = 15,
        folds: int = 5,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        self.methods = (method,) if isinstance(method, str) else tuple(method)
        if not self.methods:
            raise ValueError("`method` has none, wanted 'temperature' or others.")
        for one in self.methods:
            check_method(one, self.reading.task)
        for argument, value in (("bins", bins), ("folds", folds)):
            if value < 2:
                raise ValueError(f"`{argument}` is {value}, wanted at least 2.")
        self.bins = bins
        self.folds = folds

    @property
    def calibrator(self) -> Calibrator:
        """What was fitted, from logits to logits; one that changes nothing where nothing was kept."""
        return from_state(self.fitted or {"method": NONE, "task": self.reading.task})

    def calibrated(self, network: nn.Module) -> Calibrated:
        """A network with what was fitted behind it, for export and serving."""
        return Calibrated(network, self.calibrator, scores=self.reading.scores)

    def metrics(self) -> Needs:
        """A bounded sample of scores."""
        return (ScoreSample,)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> CalibrationReport:
        """Figures before and after; on validation of what is fitted now, on test of what was fitted then."""
        rows: ScoreRows = evaluation.result(ScoreSample)
        report = CalibrationReport(self._figures(rows.scores, rows.target), rows=len(rows.target), total=rows.total)
        if self.fits(evaluation):
            # rows come in a random order, so the first are a sample too
            few = max(FEWEST, FITTED // max(rows.scores.shape[1], 1))
            found = cross_fit(self.methods, rows.scores[:few], rows.target[:few], self.reading.task, self.folds)
            self.keep(found.calibrator.to_state(), module)
            report = replace(report, reason=found.reason, held_out=True)
            held_out = torch.cat([found.held_out, found.calibrator(rows.scores[few:])])
            return self._with(report, held_out, rows) if found.kept else report
        if self.for_these(module) is None:
            return replace(report, reason=self.say_not_fitted(evaluation))
        if self.calibrator.method == NONE:
            return replace(report, reason="nothing that was fitted on validation did better")
        return self._with(report, self.calibrator(rows.scores), rows)

    def _with(self, report: CalibrationReport, logits: Tensor, rows: ScoreRows) -> CalibrationReport:
        """The report with the figures of adjusted logits."""
        calibrator = self.calibrator
        return replace(
            report, after=self._figures(logits, rows.target), kept=True, method=calibrator.method,
            words=calibrator.describe(), parameters=calibrator.numbers(),
        )  # fmt: skip

    def _figures(self, logits: Tensor, target: Tensor) -> CalibrationFigures:
        task = self.reading.task
        labels = task == "multilabel"
        chance = logits.double().sigmoid() if labels else logits.double().softmax(1)
        return calibration_figures(chance, target, bins=self.bins, binary=task == "binary", multilabel=labels)

    def scalars(self, result: CalibrationReport) -> dict[str, float]:
        """The main figures, before and after, and the temperature; in every epoch, as monitors want it."""
        found = {f"{self.tag}/{name}": value for name, value in result.scalars().items()}
        if self.methods == ("temperature",):
            found[f"{self.tag}/temperature"] = result.parameters.get("temperature", 1.0)
        return found

    def show(self, result: CalibrationReport, title: str) -> Iterator[Tagged]:
        """The diagram, the figures, the bins."""
        from lightning_posttrain.render.calibration import bins_table, calibration_image, calibration_table

        yield Tagged(f"{self.tag}/reliability", calibration_image(result, title))
        yield Tagged(f"{self.tag}/figures", calibration_table(result))
        yield Tagged(f"{self.tag}/bins", bins_table(result))
