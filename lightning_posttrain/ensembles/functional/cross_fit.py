"""Which strategy is worth its members, judged on rows that it was not fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from lightning_posttrain.ensembles.functional.choice import ALONE, BEST, choose, nothing_to_choose
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.functional.folds import fold_of
from lightning_posttrain.ensembles.functional.rows import own_log_probability
from lightning_posttrain.ensembles.functional.stacking import why_not_stacking
from lightning_posttrain.ensembles.functional.strategies import STRATEGIES, check_strategies, fit_strategies

FITTED, FEWEST, MOST = 1 << 21, 2000, 1 << 23
"""Scores that are fitted to, rows at least, and scores of these at most: more takes minutes."""
UNFITTED = (BEST, "mean", "mean_logits")
"""Strategies that hold where nothing can be fitted."""


@final
@dataclass(frozen=True, eq=False)
class CrossFit:
    """Strategies fitted to all rows, each with its figures on rows that it was not fitted to.

    Args:
        combinations: fitted to all rows, by name, from simple to complex; ``"best"`` is always there.
        losses: minus the log-probability of what came true ``(R, S)`` float64, each row by a fit to the other folds;
            one column for each of ``combinations``. Where no row could be left out, of the fits themselves.
        hits: whether the class of the highest probability came true ``(R, S)``.
        chosen: the simplest strategy within one paired standard error of the best one, if it is kept; else ``"best"``.
        kept: whether it beats the best checkpoint by more than its paired standard error.
        reason: that in words, with figures.
        left_out: why a strategy that was asked for is not there, by name.
        rows: which rows these are ``(R,)``: of very many, a sample.
        held_out: whether rows were left out.
    """

    combinations: Mapping[str, Combination]
    losses: Tensor
    hits: Tensor
    chosen: str
    kept: bool
    reason: str
    left_out: Mapping[str, str]
    rows: Tensor
    held_out: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of strategies, as columns are."""
        return tuple(self.combinations)

    @property
    def log_loss(self) -> dict[str, float]:
        """Mean loss of each strategy; lower is better."""
        return dict(zip(self.names, self.losses.mean(dim=0).tolist(), strict=True))

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of hits of each strategy."""
        return dict(zip(self.names, self.hits.double().mean(dim=0).tolist(), strict=True))


def cross_fit(
    strategies: Sequence[str], logp: Tensor, target: Tensor, *, groups: Tensor | None = None, folds: int = 5
) -> CrossFit:
    """Fit strategies to all folds but one, judge them by that one, and fit them to all rows.

    Which member is the best is a fit too: it is chosen anew for each fold. What cannot be fitted is left out; of
    very many rows a sample is looked at, so that it takes seconds.

    Args:
        strategies: of ``STRATEGIES``, in any order.
        logp: log-probabilities ``(R, K, C)`` float64, as ``log_probabilities`` gives them.
        target: classes ``(R,)``.
        groups: the sample of each row ``(R,)``, whose rows stay in one fold, as those of its labels do; each row for
            itself where it is left out.
        folds: how many.

    Raises:
        ValueError: an unknown strategy, shapes that do not go together, no member, or fewer than two folds.

    Example:
        >>> logp = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).log().expand(100, 2, 2).double()
        >>> found = cross_fit(["mean", "convex"], logp, torch.zeros(100, dtype=torch.long))
        >>> found.reason
        'no ensemble: the best checkpoint alone; the rows are of one class, to which nothing can be fitted'
    """
    check_strategies(strategies)
    _check_rows(logp, target, groups, folds)
    with torch.inference_mode(False), torch.no_grad():
        logp, target = logp.to(torch.float64, copy=logp.is_inference()), target.clone()
        groups = None if groups is None else groups.clone()
        seen = sample_of(len(logp), logp.shape[1] * logp.shape[2], groups)
        if len(seen) < len(logp):
            logp, target, groups = logp[seen], target[seen], None if groups is None else groups[seen]
        rows = _Rows(logp, target, fold_of(len(logp), folds, groups=groups), groups)
        wanted = [name for name in STRATEGIES if name in strategies or name == BEST]
        left_out = _left_out(wanted, rows, folds)
        names = [name for name in wanted if name not in left_out]
        combinations = fit_strategies(names, logp, target)
        held_out = not _too_few(rows, folds)
        losses, hits = _held_out(names, rows) if held_out else _figures(combinations, logp, target)
        judged = held_out and len(names) > 1 and not _one_class(rows)
        choice = choose(names, losses, groups) if judged else nothing_to_choose(names, left_out)
        return CrossFit(combinations, losses, hits, *choice, left_out, seen, held_out)


@final
@dataclass(frozen=True, eq=False)
class FoldFits:
    """Strategies fitted to all rows, and without each fold, for whatever is judged behind them on the same folds.

    Args:
        whole: fitted to all rows, by name, from simple to complex.
        without: fitted without each fold.
        left_out: why a strategy that was asked for is not there, by name.
    """

    whole: Mapping[str, Combination]
    without: Sequence[Mapping[str, Combination]]
    left_out: Mapping[str, str]


def fit_without_each(
    strategies: Sequence[str], logp: Tensor, target: Tensor, fold: Tensor, *, groups: Tensor | None = None
) -> FoldFits:
    """Fit strategies to all rows, and to all folds but each; what cannot be fitted is left out.

    Args:
        strategies: of ``STRATEGIES``, in any order.
        logp: log-probabilities ``(R, K, C)`` float64, as ``log_probabilities`` gives them.
        target: classes ``(R,)``.
        fold: of each row ``(R,)``, from 0 on.
        groups: the sample of each row ``(R,)``.

    Raises:
        ValueError: an unknown strategy, or shapes that do not go together.
    """
    check_strategies(strategies)
    folds = int(fold.max()) + 1
    _check_rows(logp, target, groups, folds)
    seen = sample_of(len(logp), logp.shape[1] * logp.shape[2], groups)
    rows = _Rows(logp[seen], target[seen], fold[seen], None if groups is None else groups[seen])
    wanted = [name for name in STRATEGIES if name in strategies]
    left_out = _left_out(wanted, rows, folds)
    names = [name for name in wanted if name not in left_out]
    whole = fit_strategies(names, rows.logp, rows.target) if names else {}
    return FoldFits(whole, list(_without_each(names, rows)) if names else [], left_out)


def sample_of(rows: int, scores: int, groups: Tensor | None = None) -> Tensor:
    """Indices of the rows that are fitted to, in their order: all, or of very many a sample of whole groups.

    Args:
        rows: how many there are.
        scores: of a row, of all members.
        groups: the sample of each row ``(R,)``.
    """
    most = max(FITTED // scores, min(FEWEST, MOST // scores), 1)
    if rows <= most:
        return torch.arange(rows)
    rank = fold_of(rows, rows, groups=groups, seed=2)  # of each group in a permutation
    drawn = max(1, (int(rank.max()) + 1) * most // rows)
    return (rank < drawn).nonzero()[:, 0]


class _Rows(NamedTuple):
    """Members' rows, their folds and groups."""

    logp: Tensor
    target: Tensor
    fold: Tensor
    groups: Tensor | None

    @property
    def number(self) -> int:
        """Of rows that are independent."""
        return len(self.target) if self.groups is None else len(torch.unique(self.groups))


def _check_rows(logp: Tensor, target: Tensor, groups: Tensor | None, folds: int) -> None:
    if logp.ndim != 3 or logp.shape[1] == 0 or target.shape != logp.shape[:1]:
        raise ValueError(
            f"`logp` has shape {tuple(logp.shape)} and `target` {tuple(target.shape)}, wanted (R, K, C) and (R,), of "
            "one member at least. Give what `log_probabilities` returns."
        )
    if groups is not None and groups.shape != target.shape:
        raise ValueError(f"`groups` has shape {tuple(groups.shape)}, wanted {tuple(target.shape)}. Give `row_of`.")
    if folds < 2:
        raise ValueError(f"`folds` is {folds}, wanted 2 at least. 5 is usual.")


def _too_few(rows: _Rows, folds: int) -> str:
    if rows.number < 2 * folds:
        return f"{rows.number} rows are too few to fit to, wanted {2 * folds} at least"
    return ""


def _left_out(names: Sequence[str], rows: _Rows, folds: int) -> dict[str, str]:
    """Why strategies cannot be fitted, by name."""
    said = dict.fromkeys(set(names) - set(UNFITTED), _too_few(rows, folds) or _one_class(rows))
    if "stacking" in said:
        fewest = len(rows.target) - int(torch.bincount(rows.fold, minlength=1).max()) if len(rows.target) else 0
        said["stacking"] = said["stacking"] or why_not_stacking(fewest, *rows.logp.shape[1:])
    if rows.logp.shape[1] == 1:
        said.update(dict.fromkeys(set(names) - set(ALONE), "there is one member alone"))
    return {name: said[name] for name in names if said.get(name)}


def _one_class(rows: _Rows) -> str:
    for number in range(int(rows.fold.max()) + 1):
        if len(torch.unique(rows.target[rows.fold != number])) < 2:
            return "the rows are of one class, to which nothing can be fitted"
    return ""


def _held_out(names: Sequence[str], rows: _Rows) -> tuple[Tensor, Tensor]:
    """Figures ``(R, S)`` of each row by a fit to the other folds."""
    losses = rows.logp.new_empty(len(rows.target), len(names))
    hits = torch.empty_like(losses, dtype=torch.bool)
    for number, fits in enumerate(_without_each(names, rows)):
        left = rows.fold == number
        losses[left], hits[left] = _figures(fits, rows.logp[left], rows.target[left])
    return losses, hits


def _without_each(names: Sequence[str], rows: _Rows) -> Iterator[dict[str, Combination]]:
    """Fits without each fold."""
    for number in range(int(rows.fold.max()) + 1):
        rest = rows.fold != number
        yield fit_strategies(names, rows.logp[rest], rows.target[rest])


def _figures(fits: Mapping[str, Combination], logp: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and hits ``(R, S)``."""
    joint = [fit(logp) for fit in fits.values()]
    losses = torch.stack([-own_log_probability(each, target) for each in joint], dim=1)
    return losses, torch.stack([each.argmax(dim=1) == target for each in joint], dim=1)
