"""Where to say yes, and when to say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, final, get_args

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import one_hot
from typing_extensions import Unpack

from lightning_posttrain.classification import EvaluationOptions, ScoreRows, ScoreSample, StreamCallback, Task
from lightning_posttrain.core.callback.fitted_on_validation import FittedOnValidation
from lightning_posttrain.core.callback.kept_form import number_of
from lightning_posttrain.core.callback.options import one_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation, Needs
from lightning_posttrain.thresholds.functional.abstention import confidences, risk_coverage
from lightning_posttrain.thresholds.functional.choose import threshold_report
from lightning_posttrain.thresholds.functional.objectives import Kind, Objective
from lightning_posttrain.thresholds.result.abstention import RiskCoverage
from lightning_posttrain.thresholds.result.thresholds import ThresholdReport


@final
class DecisionThresholds(FittedOnValidation, StreamCallback):
    """Chooses, at the end of validation, the probability from which a label is said to be there.

    For a binary task the threshold of class 1; for multilabel one of each label; for multiclass, where it is asked
    for, one of each class against the rest. The choice is exact, over all cuts that there are. What it wins over 0.5 is
    reported with a bootstrap interval: on validation by cross-fitting, on test by the frozen thresholds. One that wins
    nothing on held-out rows is not kept. Nothing is chosen on test.

    For binary and multiclass also the risk-coverage curve: the errors that are left if unsure rows get no answer.

    ``thresholds`` are those chosen ``(L,)``; they are saved in the checkpoint. Rows are all up to 64 MiB of scores,
    else a sample of those. With several validation loaders the first is chosen on.

    Args:
        objective: ``"f_beta"``; ``"youden"``; ``"recall_at_precision"``: the largest recall whose precision is ``at``;
            ``"precision_at_recall"``; ``"cost"``: the mean cost of a row.
        beta: weight of recall in F-beta.
        at: what precision, or recall, must reach.
        costs: ``((right, false alarm), (missed, found))``, as ``((0, 1), (5, 0))``.
        one_vs_rest: choose for each class of a multiclass task against the rest.
        max_risk: choose the confidence below which there is no answer so that at most this share of answers is wrong.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=DecisionThresholds(task="binary", beta=2.0, max_risk=0.01), logger=False)
    """

    tag = "thresholds"
    charted = tuple(f"thresholds/{name}" for name in ("*_tuned", "aurc", "coverage_at_risk"))

    def __init__(
        self,
        *,
        objective: Kind = "f_beta",
        beta: float = 1.0,
        at: float | None = None,
        costs: Sequence[Sequence[float]] | None = None,
        one_vs_rest: bool = False,
        max_risk: float | None = None,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        if costs is not None and not all(isinstance(row, Sequence) for row in costs):
            raise ValueError(
                f"`costs` is {costs!r}, wanted ((right, false alarm), (missed, found)), as ((0, 1), (5, 0))."
            )
        table: Any = None if costs is None else tuple(map(tuple, costs))
        one_of("objective", objective, get_args(Kind))
        self.objective = Objective(objective, beta, at, table)
        self.objective.check()
        if max_risk is not None and not 0 <= max_risk <= 1:
            raise ValueError(f"`max_risk` is {max_risk}, wanted a share of errors from 0 to 1, as 0.05.")
        if max_risk is not None and self.reading.task == "multilabel":
            raise ValueError("`max_risk` is for one class a row; several labels have no one confidence.")
        if one_vs_rest and self.reading.task != "multiclass":
            raise ValueError(f"`one_vs_rest` is for task 'multiclass', and `task` is {self.reading.task!r}.")
        self.one_vs_rest = one_vs_rest
        self.max_risk = max_risk

    @property
    def thresholds(self) -> Tensor | None:
        """Those that were chosen ``(L,)`` float64; None where 0.5 is kept for all, and before there was a choice."""
        found: Tensor | None = (self.fitted or {}).get("thresholds")
        return found

    def columns(self, fitted: dict[str, Any]) -> int | None:
        """How many labels there are thresholds for."""
        if "confidence" in fitted:
            number_of(fitted, "confidence", float, least=0.0)
        found = fitted.get("thresholds")
        if found is None:
            return None
        if not (isinstance(found, Tensor) and found.ndim == 1 and found.is_floating_point()) or bool((found < 0).any()):
            raise ValueError(f"'thresholds' is {found!r}, wanted a tensor (L,) of probabilities.")
        return len(found)

    def metrics(self) -> Needs:
        """A bounded sample of scores."""
        return (ScoreSample,)

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> ThresholdReport | RiskCoverage | None:
        """Chosen now, on validation; as chosen then, on test."""
        rows: ScoreRows = evaluation.result(ScoreSample)
        fits = self.fits(evaluation)
        columns = {"binary": 1}.get(self.reading.task, rows.scores.shape[1])
        found = None if fits else self.for_these(module, columns)
        reason = "" if fits or found is not None else self.say_not_fitted(evaluation, columns)
        kept = found or {}
        abstention = report = None
        if self.reading.task != "multilabel":
            known = fits or "confidence" in kept
            abstention = self._abstention(rows, self.max_risk if known else None, kept.get("confidence"))
        if self.reading.task != "multiclass" or self.one_vs_rest:
            names = names[1:] if self.reading.task == "binary" else names
            frozen = None if fits else kept.get("thresholds", torch.full((len(names),), torch.nan))
            report = threshold_report(
                *_decisions(rows.on_cpu, self.reading.task), self.objective, class_names=names, frozen=frozen,
                abstention=abstention, total=rows.total,
            )  # fmt: skip
            if not fits and "thresholds" not in kept:
                report = replace(report, reason=reason or "0.5 was kept on validation")
        if fits:
            self.keep(_to_keep(report, abstention), module)
        return abstention if report is None else report

    @staticmethod
    def _abstention(rows: ScoreRows, max_risk: float | None, frozen: float | None) -> RiskCoverage:
        confidence, predicted = confidences(rows.scores)
        right = predicted == rows.target
        return risk_coverage(confidence.cpu(), right.cpu(), max_risk=max_risk, frozen=frozen)

    def scalars(self, result: ThresholdReport | RiskCoverage) -> dict[str, float]:
        """The objective at 0.5 and at the thresholds, what is won, and the area under the risk."""
        return {f"{self.tag}/{name}": value for name, value in result.scalars().items()}

    def show(self, result: ThresholdReport | RiskCoverage, title: str) -> Iterator[Tagged]:
        """Curves with the chosen points, and tables."""
        from lightning_posttrain.thresholds.render.abstention import risk_coverage_image, risk_coverage_table
        from lightning_posttrain.thresholds.render.thresholds import curve_table, thresholds_image, thresholds_table

        abstention = result if isinstance(result, RiskCoverage) else result.abstention
        if isinstance(result, ThresholdReport):
            yield Tagged(f"{self.tag}/objective", thresholds_image(result, title))
            yield Tagged(f"{self.tag}/figures", thresholds_table(result))
            yield Tagged(f"{self.tag}/curves", curve_table(result))
        if abstention is not None:
            yield Tagged(f"{self.tag}/risk_coverage", risk_coverage_image(abstention, title))
            yield Tagged(f"{self.tag}/risk_coverage_points", risk_coverage_table(abstention))


def _to_keep(report: ThresholdReport | None, abstention: RiskCoverage | None) -> dict[str, Any]:
    tuned = None if report is None else report.tuned
    confidence = None if abstention is None else abstention.chosen
    thresholds = {} if tuned is None else {"thresholds": tuned.threshold.clone()}
    return thresholds if confidence is None else {**thresholds, "confidence": confidence}


def _decisions(rows: ScoreRows, task: Task) -> tuple[Tensor, Tensor]:
    """Probabilities ``(N, L)`` and 0, 1 or -1 for each; of class 1, of each label, or of each class."""
    if task == "multilabel":
        return rows.scores.double().sigmoid(), rows.target
    chance = rows.scores.double().softmax(1)
    if task == "binary":
        return chance[:, 1:], rows.target[:, None]
    target = one_hot(rows.target, chance.shape[1])
    target[:, list(rows.ignored)] = -1
    return chance, target
