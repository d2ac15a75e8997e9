"""Tables of scores that knobs are turned behind: as they are given, or as a strategy makes them of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from lightning_posttrain.calibration import folds_of
from lightning_posttrain.classification import TASKS, Task
from lightning_posttrain.ensembles import (
    TITLES,
    Combination,
    fit_without_each,
    log_probabilities,
    member_rows,
    row_of,
    scores_of,
)
from lightning_posttrain.tuning.functional.crossed import Scores
from lightning_posttrain.tuning.functional.decisions import as_logits

STRATEGIES = ("best", "mean", "mean_logits", "greedy", "convex", "log_linear", "stacking")
"""Those of members without a temperature, which is a calibrator's."""


@dataclass(frozen=True, eq=False)
class Table:
    """One table by name.

    Args:
        scores: by fold.
        combination: of members, fitted to all rows; None where the scores are those of one model.
    """

    scores: Scores
    combination: Combination | None = None


@dataclass(frozen=True, eq=False)
class Tables:
    """All of them by name, the first that of doing nothing, and why strategies are not among them."""

    named: Mapping[str, Table]
    reasons: tuple[str, ...] = ()


def tables_of(
    given: Mapping[str, Tensor],
    target: Tensor,
    task: Task,
    *,
    strategies: Sequence[str] | None,
    folds: int,
    alone: bool,
) -> Tables:
    """Each table of scores, those of members as each strategy combines them.

    Args:
        given: what ``checked_scores`` returned.
        target: as ``tune_knobs`` takes it.
        task: what they mean.
        strategies: of members; None for those of ``STRATEGIES``.
        folds: how many.
        alone: whether there is one table, so that strategies need not say whose members they combine.

    Raises:
        ValueError: an unknown strategy, or none that can be fitted.
    """
    named, reasons = dict[str, Table](), list[str]()
    for name, scores in given.items():
        if scores.ndim == 2:
            named[name] = Table(partial(_always, scores))
            continue
        found, said = _of_members(scores, target, task, strategies=strategies, folds=folds)
        head = "" if alone else f"{name}: "
        named.update({f"{head}{title}": table for title, table in found.items()})
        reasons += [f"{head}{reason}" for reason in said]
    if not named:
        raise ValueError(
            f"`strategies` has none that can be fitted: {'; '.join(reasons)}. Add 'mean', which is no fit."
        )
    return Tables(named, tuple(reasons))


def _always(scores: Tensor, _fold: int | None) -> Tensor:
    return scores


def _of_members(
    members: Tensor, target: Tensor, task: Task, *, strategies: Sequence[str] | None, folds: int
) -> tuple[dict[str, Table], list[str]]:
    logp, flat = log_probabilities(members, target, task)
    sample = row_of(target, task)
    fold = folds_of(len(target), folds)[sample]
    fits = fit_without_each(STRATEGIES if strategies is None else strategies, logp, flat, fold, groups=sample)
    rows = member_rows(members, task)
    found = {}
    for name, whole in fits.whole.items():
        by_fold = [without[name] for without in fits.without]
        found[TITLES[name]] = Table(partial(_scores, rows, whole, by_fold, task, members.shape[-1]), whole)
    return found, [f"{TITLES[name]} is left out, as {why}" for name, why in fits.left_out.items()]


def _scores(
    rows: Tensor, whole: Combination, by_fold: Sequence[Combination], task: Task, labels: int, fold: int | None
) -> Tensor:
    return scores_of((whole if fold is None else by_fold[fold])(rows), task, labels)


def checked_scores(scores: Tensor | Mapping[str, Tensor], target: Tensor, task: Task) -> dict[str, Tensor]:
    """Each table as logits ``(N, C)``, or ``(N, K, C)`` of members, float64.

    Raises:
        ValueError: shapes that do not go together, or NaN.
    """
    if task not in TASKS:
        raise ValueError(f"`task` is {task!r}, wanted one of {', '.join(map(repr, TASKS))}.")
    named = {"scores": scores} if isinstance(scores, Tensor) else dict(scores)
    if not named:
        raise ValueError("`scores` has no table, wanted logits of one model at least, as {'best': logits}.")
    tables = {name: _table(name, table, target, task) for name, table in named.items()}
    if len({(table.shape[0], table.shape[-1]) for table in tables.values()}) > 1:
        found = ", ".join(f"{name} {tuple(table.shape)}" for name, table in tables.items())
        raise ValueError(f"`scores` has tables of several shapes: {found}. Give scores of the same rows and classes.")
    return tables


def _table(name: str, table: Tensor, target: Tensor, task: Task) -> Tensor:
    logits = as_logits(table.detach().cpu(), task)
    outer = logits.shape[:1] + logits.shape[2:] if logits.ndim == 3 else logits.shape
    fits = outer == target.shape if task == "multilabel" else logits.shape[:1] == target.shape
    columns = logits.ndim in (2, 3) and (task != "binary" or logits.shape[-1] == 2)
    if not (fits and columns and logits.shape[1]):
        wanted = {"multilabel": "(N, L) with a target (N, L)", "binary": "(N, 2), (N, 1) or (N,) with a target (N,)"}
        raise ValueError(
            f"`scores` {name!r} has shape {tuple(table.shape)} and `target` {tuple(target.shape)}, wanted "
            f"{wanted.get(task, '(N, C) with a target (N,)')} for task {task!r}, of K members (N, K, C)."
        )
    odd = int(logits.isnan().flatten(1).any(dim=1).sum())
    if odd:
        raise ValueError(f"`scores` {name!r} is NaN in {odd} rows, wanted numbers. Leave these rows out.")
    return logits
