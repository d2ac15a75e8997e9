"""What calibrators and thresholds win on scores of a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from lightning_posttrain.calibration import Calibrator, from_state
from lightning_posttrain.classification import Task
from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.restored import restored
from lightning_posttrain.core.output.result import Counted, undefined_to_none
from lightning_posttrain.ensembles import Combination
from lightning_posttrain.tuning.functional.decisions import as_logits, combined, decide, probabilities_of

FEW = 200
"""Rows below which an interval is rough."""
SHOWN = 12
"""Settings that are printed, beside the one to take and that of doing nothing."""
Gain = tuple[float, float, float]
"""Point, and both ends of the 95 % interval."""


@dataclass(frozen=True)
class KnobSetting:
    """One combination, judged on rows that it was not fitted to.

    Args:
        scores: name of the table of scores.
        calibrator: ``"none"`` or a method of calibration.
        rule: what thresholds are chosen for, as ``"F1"``; ``"0.5"``, or ``"argmax"``, where none are.
        log_loss: of the probabilities.
        log_loss_gain: how much lower it is than that of doing nothing, with its 95 % interval.
        figure: the objective of the decisions, mean over labels.
        met: whether the objective's constraint holds.
        accuracy: share of decisions that are right.
    """

    scores: str
    calibrator: str
    rule: str
    log_loss: float
    log_loss_gain: Gain
    figure: float
    met: bool
    accuracy: float


@final
@dataclass(frozen=True, eq=False)
class Knobs(Counted):
    """The combination of scores, calibrator and thresholds to take, and how every other did.

    Args:
        task: of the scores.
        objective: what decisions are judged by, as ``"F1"``.
        settings: all that were tried, that of doing nothing first.
        best: the one to take.
        calibrator: fitted to all rows.
        thresholds: chosen on all rows ``(L,)`` float64, NaN for 0.5; None where there are none.
        decision_gain: what the objective wins over doing nothing by decisions of ``best``, with its 95 % interval.
        rows: that there were.
        folds: that they were in.
        reason: what was left out, and why.
        combination: of members, fitted to all rows; None where the scores that were chosen are those of one model.
    """

    recorded_as: ClassVar[str] = "knobs"

    task: Task
    objective: str
    settings: tuple[KnobSetting, ...]
    best: KnobSetting
    calibrator: Calibrator
    thresholds: Tensor | None
    decision_gain: Gain
    rows: int
    folds: int
    reason: str = ""
    combination: Combination | None = None

    @property
    def start(self) -> KnobSetting:
        """Doing nothing."""
        return self.settings[0]

    @property
    def kept(self) -> bool:
        """Whether there is something to do, besides nothing."""
        return self.best is not self.start

    def probabilities(self, scores: Tensor) -> Tensor:
        """Calibrated probabilities of other rows: ``(N, C)``, of class 1 ``(N, 1)``, or of labels.

        Args:
            scores: as those of the table that was chosen: logits ``(N, C)``, or of members ``(N, K, C)``.
        """
        logits = as_logits(scores, self.task)
        if self.combination is not None:
            logits = combined(self.combination, logits, self.task)
        return probabilities_of(self.calibrator(logits), self.task)

    def decisions(self, scores: Tensor) -> Tensor:
        """What is said of each row: its class ``(N,)`` int64, whether each label is there ``(N, L)`` bool."""
        said = decide(self.probabilities(scores), self.thresholds, self.task)
        if self.task == "multilabel":
            return said
        return said[:, 0].long() if self.task == "binary" else said.long().argmax(dim=1)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each setting, the lowest log loss first."""
        ordered = sorted(self.settings, key=lambda setting: setting.log_loss)
        return [_row(setting, self._figure, taken=setting is self.best) for setting in ordered]

    @property
    def _figure(self) -> str:
        return self.objective.partition(" at ")[0]

    @property
    def words(self) -> str:
        """What to take and what it wins, in a sentence."""
        count = len(self.settings)
        if not self.kept:
            return f"nothing to do: of {count} settings none is better than the scores as they are, beyond chance"
        said = [_named(self.best), self._loss_words, self._decision_words]
        return f"{said[0]}: " + "; ".join(part for part in said[1:] if part)

    @property
    def _loss_words(self) -> str:
        before, after = self.start.log_loss, self.best.log_loss
        if after == before:
            return ""
        return f"log loss {after:.4g} instead of {before:.4g}, {_change(self.best.log_loss_gain, 'lower', 'higher')}"

    @property
    def _decision_words(self) -> str:
        less = self.objective == "cost"
        before, after = self.start.figure, self.best.figure
        if math.isnan(self.decision_gain[0]) or after == before:
            return ""
        words = ("lower", "higher") if less else ("higher", "lower")
        name, _, constraint = self.objective.partition(" at ")
        what = name if self.task == "binary" else f"mean {name}"
        reached = f", for {constraint}" if constraint else ""
        return f"{what} {after:.4g} instead of {before:.4g}{reached}, {_change(self.decision_gain, *words)}"

    @property
    def notes(self) -> tuple[str, ...]:
        """How rows were judged, and what is rough."""
        notes = (
            f"each of {self.rows:,} rows is judged by fits to other rows, in {self.folds} folds",
            f"with fewer than {FEW} rows intervals are rough" if self.rows < FEW else "",
            "" if self.combination is None else f"{self.best.scores}: {self.combination.describe()}",
            "" if self.best.met else f"the constraint of {self.objective} is missed on held-out rows",
            self.reason,
        )
        return tuple(note for note in notes if note)

    def to_dict(self) -> dict[str, Any]:
        """Everything, the calibrator as its state."""
        state = undefined_to_none(self.calibrator.to_state())
        weights = None if self.combination is None else undefined_to_none(self.combination.to_state())
        plain = undefined_to_none({name: value for name, value in vars(self).items() if name not in _NESTED})
        settings = [undefined_to_none(asdict(setting)) for setting in self.settings]
        best = undefined_to_none(asdict(self.best))
        said = {"words": self.words, "notes": list(self.notes)}
        return {
            "kind": self.recorded_as,
            **plain,
            "settings": settings,
            "best": best,
            "calibrator": state,
            "combination": weights,
            **said,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Knobs:
        """What ``to_dict`` gave."""
        settings: tuple[KnobSetting, ...] = restored(tuple[KnobSetting, ...], state["settings"])
        weights = None if state["combination"] is None else Combination.from_state(_with_tensors(state["combination"]))
        return cls(
            task=state["task"],
            objective=state["objective"],
            settings=settings,
            best=settings[state["settings"].index(state["best"])],
            calibrator=from_state(_with_tensors(state["calibrator"])),
            thresholds=restored(Tensor | None, state["thresholds"]),
            decision_gain=restored(Gain, state["decision_gain"]),
            rows=state["rows"],
            folds=state["folds"],
            reason=state["reason"],
            combination=weights,
        )

    def __str__(self) -> str:
        table, start = self.table, _row(self.start, self._figure, taken=not self.kept)
        shown = [row for place, row in enumerate(table) if place < SHOWN or row["taken"] or row == start]
        rows = [list(table[0]), *([_cell(value) for value in row.values()] for row in shown)]
        more = [f"and {len(table) - len(shown)} more"] if len(shown) < len(table) else []
        return "\n".join([f"{self.words}.", "", *in_columns(rows), *more, "", *self.notes])


def _with_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: restored(Tensor, value) if isinstance(value, list) else value for name, value in state.items()}


_NESTED = ("settings", "best", "calibrator", "combination")


def _row(setting: KnobSetting, figure: str, *, taken: bool) -> dict[str, Any]:
    point, low, high = setting.log_loss_gain
    return {
        "scores": setting.scores,
        "calibrator": setting.calibrator,
        "thresholds": setting.rule,
        "log loss": setting.log_loss,
        "gain": point,
        "from": low,
        "to": high,
        figure: setting.figure,
        "accuracy": setting.accuracy,
        "taken": "yes" if taken else "",
    }


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _named(setting: KnobSetting) -> str:
    calibrator = "" if setting.calibrator == "none" else f", {setting.calibrator}"
    rule = "" if setting.rule in ("0.5", "argmax") else f", thresholds for {setting.rule}"
    return f"{setting.scores}{calibrator}{rule}"


def _change(gain: Gain, better: str, worse: str) -> str:
    point, low, high = gain if gain[0] >= 0 else (-gain[0], -gain[2], -gain[1])
    chance = ", which may be chance" if low <= 0 else ""
    return f"{point:.3g} {better if gain[0] >= 0 else worse} (95 % interval {low:.3g} to {high:.3g}){chance}"
