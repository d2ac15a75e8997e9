"""Strategies fitted to the scores of members, and judged by cross-fitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.ensembles.fit import BEST, EnsembleFit, FittedMember, OnValidation, relative
from lightning_posttrain.ensembles.functional.cross_fit import CrossFit, HeldOut, choose, cross_fit
from lightning_posttrain.ensembles.functional.paired import difference
from lightning_posttrain.ensembles.functional.rows import log_probabilities, own_log_probability, row_of
from lightning_posttrain.ensembles.judging import Judge
from lightning_posttrain.ensembles.kept_scores import KeptScores
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.reporting import report_fitted
from lightning_posttrain.ensembles.result import EnsembleReport

SINGLES = {"ema": "ema", "swa": "swa"}
"""Strategies that take the best member of a kind alone."""
CHUNK = 1 << 16
"""Rows that are judged at a time."""


@dataclass(frozen=True, eq=False)
class Fitting:
    """What is fitted, and how.

    Args:
        reading: of the scores.
        strategies: their names.
        folds: of the cross-fitting.
        folder: where the fit is written.
        entry: dotted name of the module that gives scores from inputs.
    """

    reading: ClassReading
    strategies: Sequence[str]
    folds: int
    folder: Path
    entry: str = ""
    notes: tuple[str, ...] = field(default=())

    def fitted(
        self, states: Sequence[MemberState], soups: Sequence[MemberState], table: KeptScores
    ) -> tuple[EnsembleFit, EnsembleReport]:
        """Fit all strategies to the scores of members and soups, and report them.

        Args:
            states: the ``K`` members.
            soups: averages of them.
            table: scores of all of them, members first.

        Raises:
            ValueError: there are too few rows to fit anything to.
        """
        task = self.reading.task
        logp, target = log_probabilities(table.scores, table.target, task)
        sample = table.sample[row_of(table.target, task)]
        found = cross_fit(self.strategies, logp[:, : len(states)], target, groups=sample, folds=self.folds)
        alone = _alone(states, soups, logp, target)
        held_out = {**found.held_out, **{name: _as_is(logp[:, place], target) for name, place in alone.items()}}
        order = _in_order(held_out)
        choice = choose({name: held_out[name] for name in order}, groups=sample)
        fit = EnsembleFit(
            members=tuple(_known(state, self.folder) for state in states),
            soups=tuple(_known(state, self.folder) for state in soups),
            strategies=found.fitted,
            alone=alone,
            validation={name: _on_validation(held_out[name], held_out[BEST], sample) for name in order},
            chosen=choice.chosen,
            kept=choice.kept,
            reason=choice.reason,
            task=task,
            columns=table.scores.shape[2],
            rows=len(table.target),
            total=table.total,
            entry=self.entry,
            notes=(*self.notes, *found.notes),
            folder=self.folder,
        )
        return fit, self._report(fit, [*states, *soups], table)

    def _report(self, fit: EnsembleFit, states: Sequence[MemberState], table: KeptScores) -> EnsembleReport:
        columns = table.scores.shape[2]
        judge = Judge(
            self.reading, (columns, 0), strategies={BEST: fit.strategies[BEST]}, members=len(states),
            device=torch.device("cpu"),
        )  # fmt: skip
        for first in range(0, len(table.target), CHUNK):
            rows = slice(first, first + CHUNK)
            marked = table.target[rows]
            judge.add([EvalBatch(scores, marked, marked >= 0) for scores in table.scores[rows].unbind(1)])
        _, singles, pairs = judge.results()
        return report_fitted(fit, states, singles, pairs)


def _alone(
    states: Sequence[MemberState], soups: Sequence[MemberState], logp: Tensor, target: Tensor
) -> dict[str, int]:
    """Sets of weights that are strategies by themselves: the best average of each kind, and the soups."""
    losses = -own_log_probability(logp, target).mean(0)
    found = {}
    for name, kind in SINGLES.items():
        of_kind = [place for place, state in enumerate(states) if state.kind == kind]
        if of_kind and len(of_kind) < len(states):
            found[name] = min(of_kind, key=lambda place: float(losses[place]))
    return {**found, **{soup.name.replace(" ", "_"): len(states) + place for place, soup in enumerate(soups)}}


def _as_is(logp: Tensor, target: Tensor) -> HeldOut:
    """Scores that no fit has part in."""
    loss = -own_log_probability(logp, target)
    return HeldOut(loss, (logp.argmax(1) == target).double())


def _in_order(held_out: dict[str, HeldOut]) -> list[str]:
    """Names from the simplest on: the best member, single sets of weights, then combinations."""
    names = list(held_out)
    singles = [name for name in names if name in (*SINGLES, "uniform_soup", "greedy_soup")]
    first = [name for name in names if name.startswith(BEST)]
    return [*first, *singles, *(name for name in names if name not in (*first, *singles))]


def _on_validation(found: HeldOut, best: HeldOut, sample: Tensor) -> OnValidation:
    loss, hits = (
        tuple(map(float, difference(mine, other, groups=sample)))
        for mine, other in ((found.loss, best.loss), (found.hits, best.hits))
    )
    return OnValidation(float(found.loss.mean()), float(found.hits.mean()), loss, hits)


def _known(state: MemberState, folder: Path) -> FittedMember:
    return FittedMember(state.name, state.kind, relative(state.source, folder), state.mark)
