"""What may be set behind a trained model, chosen on cached scores in seconds: scores, calibrator, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.calibration import Calibrator, check_method, folds_of, possible_methods
from lightning_posttrain.classification import Task
from lightning_posttrain.thresholds import Objective, choose_thresholds, paired_gain
from lightning_posttrain.tuning.functional.crossed import (
    NONE,
    Rows,
    calibrated,
    decisions,
    difference,
    judged,
    right,
    simplest,
)
from lightning_posttrain.tuning.functional.decisions import probabilities_of
from lightning_posttrain.tuning.knobs_result import Knobs, KnobSetting
from lightning_posttrain.tuning.score_tables import Table, checked_scores, tables_of

CALIBRATORS: Mapping[Task, tuple[str, ...]] = {
    "multiclass": ("temperature", "vector"),
    "binary": ("temperature", "platt"),
    "multilabel": ("temperature", "platt"),
}
SIDE = 1.96
"""Standard errors on each side of a mean, in a 95 % interval."""


def tune_knobs(
    scores: Tensor | Mapping[str, Tensor],
    target: Tensor,
    *,
    task: Task,
    calibrators: Sequence[str] | None = None,
    objectives: Sequence[Objective] = (Objective(),),
    strategies: Sequence[str] | None = None,
    folds: int = 5,
) -> Knobs:
    r"""Try each table of scores with each calibrator and each rule for thresholds, without a pass over data.

    Of members' scores each strategy of an ensemble makes a table: weights, temperature and thresholds are chosen in one
    call. All are judged on the same folds: the weights, the calibrator and the thresholds that a row is judged by were
    fitted to the other folds. Probabilities are judged by log loss, decisions by the first of the objectives. Taken is
    the first table and calibrator whose log loss is within one standard error of the least, of paired differences, and
    behind them the best rule, where it wins more than its standard error over no thresholds: so give what is simplest
    first. What is taken was chosen by these figures, which flatter it a little: judge it on test.

    Args:
        scores: logits ``(N, C)`` of validation rows, as ``validation_scores`` gives them, those of ``K`` members
            ``(N, K, C)``, or several of either by name, of which the first stands for doing nothing; of members that is
            the best one alone. Log-probabilities are logits. Of a binary task ``C`` is 2 or 1, or ``(N,)``; of labels
            log-odds ``(N, L)``, ``(N, K, L)``.
        target: class ``(N,)``; of labels 0 or 1 ``(N, L)``, -1 where one is not to be counted.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        calibrators: methods of calibration besides none; ``"temperature"`` and ``"vector"``, or ``"platt"``, if left
            out.
        objectives: what thresholds are chosen for; the first is what decisions are judged by. Of a multiclass task a
            threshold is that of a class against the rest, and the class is said that is farthest above its own.
        strategies: how members are combined, names of ``lightning_posttrain.ensembles.STRATEGIES``; those without a
            temperature, which is a calibrator's, if left out.
        folds: how many.

    Raises:
        ValueError: shapes that do not fit, scores that are NaN, too few rows, one class alone, an unknown strategy.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 4.0], [2.0, 0.0]]).repeat(40, 1)
        >>> target = torch.tensor([0, 0, 1, 1, 1]).repeat(40)
        >>> found = tune_knobs(logits, target, task="binary")
        >>> found.best.calibrator, found.best.rule, found.decisions(logits[:5]).tolist()
        ('platt', '0.5', [0, 0, 1, 1, 1])
    """
    with torch.inference_mode(False), torch.no_grad():
        target = target.detach().cpu().long()
        given = checked_scores(scores, target, task)
        wanted = _checked(calibrators, objectives, task)
        _check_target(target, next(iter(given.values())).shape[-1] if task == "multiclass" else 2, task, folds)
        tables = tables_of(given, target, task, strategies=strategies, folds=folds, alone=isinstance(scores, Tensor))
        first = next(iter(tables.named.values())).scores(None)
        rows = Rows.of(target, folds_of(len(target), folds), task, first.shape[1])
        possible, reason = possible_methods(wanted, first, target, task, rows.fold, folds)
        reasons = "; ".join(filter(None, (reason, *tables.reasons)))
        return _search(tables.named, (NONE, *possible), objectives, rows, reasons)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A table of scores behind a calibrator, its losses ``(N,)``, and decisions by each rule."""

    scores: str
    method: str
    calibrator: Calibrator
    losses: Tensor
    said: list[Tensor]

    @classmethod
    def of(cls, name: str, table: Table, *, method: str, rules: Sequence[Objective | None], rows: Rows) -> _Pair:
        """Fitted and judged by fold; probabilities of the folds are not kept."""
        found = calibrated(method, table.scores, rows)
        return cls(name, method, found.whole, found.losses, [decisions(found, rows, rule) for rule in rules])


def _search(
    tables: Mapping[str, Table], methods: Sequence[str], objectives: Sequence[Objective], rows: Rows, reason: str
) -> Knobs:
    judge, rules = objectives[0], [None, *objectives]
    pairs = [
        _Pair.of(name, table, method=method, rules=rules, rows=rows)
        for name, table in tables.items()
        for method in methods
    ]
    settings = [[_setting(pair, pairs[0], place, rules, rows) for place in range(len(rules))] for pair in pairs]
    place = simplest([pair.losses for pair in pairs])
    taken = pairs[place]
    rule = _rule(taken, settings[place], rows, judge)
    objective, thresholds = rules[rule], None
    if objective is not None:
        chances = probabilities_of(taken.calibrator(tables[taken.scores].scores(None)), rows.task)
        thresholds = choose_thresholds(chances, rows.labels, objective).thresholds
    return Knobs(
        rows.task, judge.text, tuple(setting for each in settings for setting in each), settings[place][rule],
        taken.calibrator, thresholds, paired_gain(taken.said[rule], pairs[0].said[0], rows.labels, judge),
        rows=len(rows.fold), folds=len(rows.folds), reason=reason, combination=tables[taken.scores].combination,
    )  # fmt: skip


def _setting(pair: _Pair, start: _Pair, place: int, rules: Sequence[Objective | None], rows: Rows) -> KnobSetting:
    point, error = difference(pair.losses, start.losses)
    said, rule, judge = pair.said[place], rules[place], rules[1]
    figure, met = judged(said, rows, judge or Objective())
    named = ("argmax" if rows.task == "multiclass" else "0.5") if rule is None else rule.text
    gain = (point, point - SIDE * error, point + SIDE * error)
    loss = float(pair.losses.mean())
    return KnobSetting(pair.scores, pair.method, named, loss, gain, figure, met, right(said, rows))


def _rule(pair: _Pair, settings: Sequence[KnobSetting], rows: Rows, judge: Objective) -> int:
    """The best rule, where it wins over none more than may be chance.

    Of a judge with a constraint, the best that keeps it; where none does, the one that was made to.
    """
    allowed = [place for place, setting in enumerate(settings) if setting.met] or [1]
    best = max(allowed, key=lambda place: judge.sign * settings[place].figure)
    if 0 not in allowed or best == 0:
        return best
    point, low, high = paired_gain(pair.said[best], pair.said[0], rows.labels, judge)
    return best if point > (high - low) / (2 * SIDE) else 0


def _checked(calibrators: Sequence[str] | None, objectives: Sequence[Objective], task: Task) -> tuple[str, ...]:
    if not objectives:
        raise ValueError("`objectives` has none, wanted one at least, by which decisions are judged.")
    for objective in objectives:
        objective.check()
    methods = CALIBRATORS[task] if calibrators is None else tuple(m for m in calibrators if m != NONE)
    for method in methods:
        check_method(method, task)
    return tuple(dict.fromkeys(methods))


def _check_target(target: Tensor, classes: int, task: Task, folds: int) -> None:
    if folds < 2 or len(target) < 2 * folds:
        raise ValueError(f"`folds` is {folds} for {len(target)} rows, wanted 2 folds of 2 rows each at least.")
    least = -1 if task == "multilabel" else 0
    if int(target.min()) < least or int(target.max()) >= classes:
        raise ValueError(f"`target` has values that are none of {classes} classes, from 0 on. Leave these rows out.")
    counted = target[target >= 0]
    if not len(counted) or int(counted.min()) == int(counted.max()):
        raise ValueError("`target` has one class alone, so there is nothing to tell apart. Give rows of two at least.")
