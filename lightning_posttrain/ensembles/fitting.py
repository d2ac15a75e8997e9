"""Strategies fitted to the scores of members, and judged by cross-fitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.stream.ranks import worked_out_first
from lightning_posttrain.ensembles.average_weights import soups_of, written
from lightning_posttrain.ensembles.fit import EnsembleFit, FittedMember, OnValidation, relative
from lightning_posttrain.ensembles.functional.choice import ALONE, BEST, Choice, choose
from lightning_posttrain.ensembles.functional.cross_fit import CrossFit, cross_fit
from lightning_posttrain.ensembles.functional.paired import paired_interval
from lightning_posttrain.ensembles.functional.rows import log_probabilities, own_log_probability, row_of
from lightning_posttrain.ensembles.functional.strategies import SINGLE_WEIGHTS, TITLES
from lightning_posttrain.ensembles.gathering import tempered_losses
from lightning_posttrain.ensembles.judging import Judge
from lightning_posttrain.ensembles.judging_pass import JudgingPass, table_with
from lightning_posttrain.ensembles.kept_scores import KeptScores
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.reporting import report_fitted
from lightning_posttrain.ensembles.result import EnsembleReport

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
        notes: on what was left out before.
    """

    reading: ClassReading
    strategies: Sequence[str]
    folds: int
    folder: Path
    entry: str = ""
    notes: tuple[str, ...] = ()

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
        logp, target, sample = logp[found.rows], target[found.rows], sample[found.rows]
        alone = _alone(states, soups, logp, target)
        judged = _with_single_weights(found, alone, logp, target)
        rows = len(torch.unique(sample)) if task == "multilabel" else len(sample)
        choice = judged.choice(found, sample)
        fit = EnsembleFit(
            members=tuple(_known(state, self.folder) for state in states),
            soups=tuple(_known(state, self.folder) for state in soups),
            strategies=dict(found.combinations),
            alone=alone,
            validation=judged.on_validation(sample),
            chosen=choice.chosen,
            kept=choice.kept,
            reason=choice.reason,
            task=task,
            columns=table.scores.shape[2],
            rows=rows,
            total=table.total,
            entry=self.entry,
            squashed=self.reading.scores == "probabilities",
            notes=(*self.notes, *_left_out(found)),
            folder=self.folder,
        )
        return fit, self._report(fit, [*states, *soups], table)

    def _report(self, fit: EnsembleFit, states: Sequence[MemberState], table: KeptScores) -> EnsembleReport:
        columns = table.scores.shape[2]
        judge = Judge(
            self.reading, (columns, 0), strategies={BEST: fit.strategies[BEST]},
            members=(len(states), len(fit.members)), device=torch.device("cpu"),
        )  # fmt: skip
        for first in range(0, len(table.target), CHUNK):
            rows = slice(first, first + CHUNK)
            marked = table.target[rows]
            judge.add([EvalBatch(scores, marked, marked >= 0) for scores in table.scores[rows].unbind(1)])
        _, singles, pairs = judge.results()
        samples = len(torch.unique(table.sample))
        return replace(report_fitted(fit, states, singles, pairs), samples=samples)


def fit_together(
    fitting: Fitting, states: Sequence[MemberState], table: KeptScores | None, judging: JudgingPass, *, soups: bool
) -> tuple[EnsembleFit, EnsembleReport]:
    """Fit strategies on the first rank, after soups were made by all; all ranks together.

    Args:
        fitting: what is fitted.
        states: the members.
        table: their scores, None on all ranks but the first.
        judging: judges soups.
        soups: whether there are to be some.

    Raises:
        ValueError: there are no rows to fit to.
    """
    trainer, averages, said = judging.trainer, list[MemberState](), ""
    if soups:
        own = [] if table is None else tempered_losses(table, fitting.reading.task)
        losses: list[float] = trainer.strategy.broadcast(own)
        averages, said = soups_of(states, losses, judging)
        try:
            averages = [written(soup, fitting.folder, states[0].source, judging) for soup in averages]
        except Exception as error:  # whatever a disk or a file says
            averages, said = [], f"the soups are left out, as they cannot be written ({type(error).__name__}: {error})"
        table = table_with(table, states, averages, judging) if averages else table
    noted = replace(fitting, notes=tuple(filter(None, (*fitting.notes, said))))

    def fit() -> tuple[EnsembleFit, EnsembleReport]:
        assert table is not None
        return noted.fitted(states, averages, table)

    return worked_out_first(trainer, fit)


class _Judged(NamedTuple):
    """Strategies by name, from simple to complex, their losses and hits ``(R, S)`` on rows that were left out."""

    names: Sequence[str]
    losses: Tensor
    hits: Tensor

    def choice(self, found: CrossFit, sample: Tensor) -> Choice:
        """The one to take; where nothing was judged, that of the fits."""
        if not found.held_out or len(self.names) < 2:
            return Choice(found.chosen, found.kept, found.reason)
        return choose(self.names, self.losses, sample)

    def on_validation(self, sample: Tensor) -> dict[str, OnValidation]:
        """Figures of each, and differences to the best member alone."""
        best = self.names.index(BEST)
        figures = [self.losses, self.hits.double()]
        apart = [each - each[:, best, None] for each in figures]
        ends = [paired_interval(each, sample) for each in apart]
        found = {}
        for place, name in enumerate(self.names):
            loss, hits = (float(each[:, place].mean()) for each in figures)
            both = ((float(each[:, place].mean()), *end[place].tolist()) for each, end in zip(apart, ends, strict=True))
            found[name] = OnValidation(loss, hits, *both)
        return found


def _alone(states: Sequence[MemberState], soups: Sequence[MemberState], logp: Tensor, target: Tensor) -> dict[str, int]:
    """Averages of weights that are strategies by themselves: the best of each kind among the members, and the soups."""
    losses = -own_log_probability(logp, target).mean(0)
    found = {}
    for kind in ("ema", "swa"):
        of_kind = [place for place, state in enumerate(states) if state.kind == kind]
        if of_kind and len(of_kind) < len(states):
            found[kind] = min(of_kind, key=lambda place: float(losses[place]))
    return {**found, **{soup.name.replace(" ", "_"): len(states) + place for place, soup in enumerate(soups)}}


def _with_single_weights(found: CrossFit, alone: Mapping[str, int], logp: Tensor, target: Tensor) -> _Judged:
    """Strategies behind those of one member, averages of weights among them, as no fit has part in their scores."""
    first = [name for name in found.names if name in ALONE]
    names = [*first, *(name for name in SINGLE_WEIGHTS if name in alone), *found.names[len(first) :]]
    chosen = logp[:, list(alone.values())]
    losses = torch.cat([found.losses, -own_log_probability(chosen, target)], 1)
    hits = torch.cat([found.hits, chosen.argmax(2) == target[:, None]], 1)
    place = [[*found.names, *alone].index(name) for name in names]
    return _Judged(names, losses[:, place], hits[:, place])


def _left_out(found: CrossFit) -> list[str]:
    """Which strategies are not there, and why; those of one reason together."""
    reasons = dict.fromkeys(found.left_out.values())
    return [
        f"left out: {', '.join(TITLES[name] for name, why in found.left_out.items() if why == reason)}, as {reason}"
        for reason in reasons
    ]


def _known(state: MemberState, folder: Path) -> FittedMember:
    return FittedMember(state.name, state.kind, relative(state.source, folder), state.mark)
