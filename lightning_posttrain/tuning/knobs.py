"""What may be set behind a trained model, chosen on cached scores in seconds: scores, calibrator, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.calibration import check_method, folds_of, possible_methods
from lightning_posttrain.classification import TASKS, Task
from lightning_posttrain.thresholds import Objective, choose_thresholds, paired_gain
from lightning_posttrain.tuning.functional.crossed import (
    NONE,
    Calibrated,
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
    folds: int = 5,
) -> Knobs:
    r"""Try each table of scores with each calibrator and each rule for thresholds, without a pass over data.

    All are judged on the same folds: the calibrator and the thresholds that a row is judged by were fitted to the other
    folds. Probabilities are judged by log loss, decisions by the first of the objectives. Taken is the first table and
    calibrator whose log loss is within one standard error of the least, of paired differences, and behind them the
    best rule, where it wins more than its standard error over no thresholds: so give what is simplest first. What is
    taken was chosen by these figures, which flatter it a little: judge it on test.

    Args:
        scores: logits ``(N, C)`` of validation rows, or several by name, as of the strategies of an ensemble, of which
            the first stands for doing nothing. Log-probabilities are logits. Of a binary task ``(N, 2)``, ``(N, 1)`` or
            ``(N,)``; of labels log-odds ``(N, L)``.
        target: class ``(N,)``; of labels 0 or 1 ``(N, L)``, -1 where one is not to be counted.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        calibrators: methods of calibration besides none; ``"temperature"`` and ``"vector"``, or ``"platt"``, if left
            out.
        objectives: what thresholds are chosen for; the first is what decisions are judged by. Of a multiclass task a
            threshold is that of a class against the rest, and the class is said that is farthest above its own.
        folds: how many.

    Raises:
        ValueError: shapes that do not fit, scores that are NaN, too few rows, one class alone.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 4.0], [2.0, 0.0]]).repeat(40, 1)
        >>> target = torch.tensor([0, 0, 1, 1, 1]).repeat(40)
        >>> found = tune_knobs(logits, target, task="binary")
        >>> found.best.calibrator, found.best.rule, found.decisions(logits[:5]).tolist()
        ('platt', '0.5', [0, 0, 1, 1, 1])
    """
    tables = _tables(scores, target, task)
    wanted = _checked(calibrators, objectives, task)
    first, target = next(iter(tables.values())), target.detach().cpu().long()
    _check_target(target, first.shape[1] if task == "multiclass" else 2, task, folds)
    rows = Rows.of(target, folds_of(len(target), folds), task, first.shape[1])
    possible, reason = possible_methods(wanted, first, target, task, rows.fold, folds)
    with torch.inference_mode(False), torch.no_grad():
        return _search(tables, (NONE, *possible), objectives, rows, reason)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A table of scores behind a calibrator, and decisions by each rule."""

    scores: str
    method: str
    found: Calibrated
    said: list[Tensor]


def _search(
    tables: Mapping[str, Tensor], methods: Sequence[str], objectives: Sequence[Objective], rows: Rows, reason: str
) -> Knobs:
    judge, rules = objectives[0], [None, *objectives]
    pairs = []
    for name, logits in tables.items():
        for method in methods:
            found = calibrated(method, logits, rows)
            pairs.append(_Pair(name, method, found, [decisions(found, rows, rule) for rule in rules]))
    settings = [[_setting(pair, pairs[0], place, rules, rows) for place in range(len(rules))] for pair in pairs]
    place = simplest([pair.found.losses for pair in pairs])
    taken = pairs[place]
    rule = _rule(taken, settings[place], rows, judge)
    objective, thresholds = rules[rule], None
    if objective is not None:
        chances = probabilities_of(taken.found.whole(tables[taken.scores]), rows.task)
        thresholds = choose_thresholds(chances, rows.labels, objective).thresholds
    return Knobs(
        rows.task, judge.text, tuple(setting for each in settings for setting in each), settings[place][rule],
        taken.found.whole, thresholds, paired_gain(taken.said[rule], pairs[0].said[0], rows.labels, judge),
        rows=len(rows.fold), folds=len(rows.folds), reason=reason,
    )  # fmt: skip


def _setting(pair: _Pair, start: _Pair, place: int, rules: Sequence[Objective | None], rows: Rows) -> KnobSetting:
    point, error = difference(pair.found.losses, start.found.losses)
    said, rule, judge = pair.said[place], rules[place], rules[1]
    figure, met = judged(said, rows, judge or Objective())
    named = ("argmax" if rows.task == "multiclass" else "0.5") if rule is None else rule.text
    gain = (point, point - SIDE * error, point + SIDE * error)
    loss = float(pair.found.losses.mean())
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


def _tables(scores: Tensor | Mapping[str, Tensor], target: Tensor, task: Task) -> dict[str, Tensor]:
    """Each table as logits ``(N, C)`` float64."""
    if task not in TASKS:
        raise ValueError(f"`task` is {task!r}, wanted one of {', '.join(map(repr, TASKS))}.")
    named = {"scores": scores} if isinstance(scores, Tensor) else dict(scores)
    if not named:
        raise ValueError("`scores` has no table, wanted logits of one model at least, as {'best': logits}.")
    tables = {name: _table(name, table, target, task) for name, table in named.items()}
    if len({table.shape for table in tables.values()}) > 1:
        found = ", ".join(f"{name} {tuple(table.shape)}" for name, table in tables.items())
        raise ValueError(f"`scores` has tables of several shapes: {found}. Give scores of the same rows and classes.")
    return tables


def _table(name: str, table: Tensor, target: Tensor, task: Task) -> Tensor:
    logits = table.detach().cpu().double()
    if task == "binary" and (logits.ndim == 1 or logits.shape[1:] == (1,)):
        margin = logits.reshape(-1)
        logits = torch.stack([-margin / 2, margin / 2], dim=1)
    fits = logits.shape == target.shape if task == "multilabel" else logits.shape[:1] == target.shape
    columns = logits.ndim == 2 and (task == "multilabel" or logits.shape[1] == 2 or task == "multiclass")
    if not (fits and columns):
        wanted = {"multilabel": "(N, L) with a target (N, L)", "binary": "(N, 2), (N, 1) or (N,) with a target (N,)"}
        raise ValueError(
            f"`scores` {name!r} has shape {tuple(table.shape)} and `target` {tuple(target.shape)}, wanted "
            f"{wanted.get(task, '(N, C) with a target (N,)')} for task {task!r}."
        )
    odd = int(logits.isnan().any(dim=1).sum())
    if odd:
        raise ValueError(f"`scores` {name!r} is NaN in {odd} rows, wanted numbers. Leave these rows out.")
    return logits


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
