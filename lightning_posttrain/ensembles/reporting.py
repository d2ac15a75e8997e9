"""From sums and fits to what is reported of an ensemble."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning_posttrain.ensembles.fit import EnsembleFit
from lightning_posttrain.ensembles.functional.choice import BEST
from lightning_posttrain.ensembles.functional.paired import GroupedMoments
from lightning_posttrain.ensembles.functional.strategies import TITLES
from lightning_posttrain.ensembles.judging import Figures, Judge, Strategy
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.metric import Pairs
from lightning_posttrain.ensembles.result import Difference, EnsembleReport, MemberReport, StrategyReport


def words_of(how: Strategy, names: Sequence[str]) -> str:
    """What a strategy does with members of these names."""
    return f"{names[how]} alone" if isinstance(how, int) else how.describe(names[: len(how.weights)])


def forwards(how: Strategy) -> int:
    """How many members it runs for a prediction."""
    return 1 if isinstance(how, int) else len(how.used)


def report_judged(
    judge: Judge, strategies: Mapping[str, Strategy], states: Sequence[MemberState], fit: EnsembleFit | None
) -> EnsembleReport:
    """What members and strategies amount to on rows that nothing was fitted to.

    Args:
        judge: has seen all rows, of all ranks.
        strategies: that it judged, the best alone first.
        states: of the members.
        fit: where the strategies come from, or None.
    """
    figures, singles, pairs = judge.results()
    names = [state.name for state in states]
    size = parameters_of(states)
    reports = [
        StrategyReport(
            name, _title(name, fit), words_of(how, names), forwards(how),
            forwards(how) * size, found.accuracy, found.log_loss, found.brier, found.ece,
            loss=_difference(pairs.loss, place), hits=_difference(pairs.hits, place),
            validation=fit.validation[name].log_loss if fit else math.nan,
        )
        for place, ((name, how), found) in enumerate(zip(strategies.items(), figures.values(), strict=True))
    ]  # fmt: skip
    return EnsembleReport(
        strategies=tuple(reports),
        members=tuple(map(_member, states, singles)),
        chosen=fit.chosen if fit else "",
        kept=fit.kept if fit else False,
        reason=fit.reason if fit else "",
        limits=fit.notes if fit else (),
        samples=pairs.loss.samples,
        diversity=pairs.diversity,
    )


def report_fitted(
    fit: EnsembleFit, states: Sequence[MemberState], singles: Sequence[Figures], pairs: Pairs
) -> EnsembleReport:
    """What was fitted, by figures of rows that it was not fitted to.

    Args:
        fit: what was fitted now.
        states: of its members and soups.
        singles: figures of the members.
        pairs: how they go together.
    """
    names = [state.name for state in states]
    size = parameters_of(states)
    ways: Mapping[str, Strategy] = {**fit.strategies, **fit.alone}
    reports = []
    for name, found in fit.validation.items():
        how = ways[name]
        used = forwards(how)
        reports.append(
            StrategyReport(
                name, TITLES[name], words_of(how, names), used, used * size, found.accuracy, found.log_loss,
                loss=Difference(*found.loss), hits=Difference(*found.hits), validation=found.log_loss,
            )
        )  # fmt: skip
    sampled = f"fitted to {fit.rows:,} of {fit.total:,} rows" if fit.rows < fit.total else ""
    return EnsembleReport(
        strategies=tuple(reports),
        members=tuple(map(_member, states, singles)),
        chosen=fit.chosen,
        kept=fit.kept,
        reason=fit.reason,
        held_out=True,
        limits=tuple(note for note in (*fit.notes, sampled) if note),
        samples=pairs.loss.samples,
        diversity=pairs.diversity,
    )


def _title(name: str, fit: EnsembleFit | None) -> str:
    """A strategy's name; where nothing was fitted, nothing tells which member is the best."""
    return "one member alone" if fit is None and name == BEST else TITLES[name]


def parameters_of(states: Sequence[MemberState]) -> int:
    """Numbers in the weights and buffers of a member."""
    return sum(tensor.numel() for tensor in states[0].tensors.values()) if states else 0


def _member(state: MemberState, found: Figures) -> MemberReport:
    return MemberReport(state.name, state.kind, found.accuracy, found.log_loss, found.ece)


def _difference(moments: GroupedMoments, place: int) -> Difference:
    ends = moments.interval()
    low, high = (math.nan, math.nan) if ends is None else ends[place].tolist()
    return Difference(float(moments.mean[place]), low, high)
