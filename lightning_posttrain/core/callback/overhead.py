"""What callbacks take of a run: decided for each evaluation of a fit, told and written at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_info

from lightning_posttrain.core.callback.reporting import Reporter, writes
from lightning_posttrain.core.callback.scalars import epoch_of, step_of
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.overhead import TAG, Overhead
from lightning_posttrain.core.output.recorded import with_record
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.ranks import as_first
from lightning_posttrain.core.stream.room import proposed
from lightning_posttrain.core.stream.stream import EvaluationStream

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

SHARE = 0.1
"""Of a fit's seconds, where nothing else is said: a tenth that nobody waits for, with pictures to follow."""


def decide(trainer: Trainer) -> None:
    """Decide whether optional work is done in an evaluation that the stream has not read; all ranks together."""
    stream = EvaluationStream.of(trainer)
    mine = proposed(trainer, stream.costs, stream.members)
    if mine is not None:
        stream.costs.budget.settle(as_first(trainer, mine))


def affords(trainer: Trainer, share: float | None) -> bool:
    """Whether what keeps to a share of the run is done now; outside of a fit all is."""
    return trainer.state.fn != "fit" or EvaluationStream.of(trainer).costs.budget.allows(share)


def conclude(trainer: Trainer, reporter: Reporter) -> None:
    """Say what was left out, and have it written what each callback took, when all else is; on the first rank."""
    if not writes(trainer):
        return
    stream, in_fit = EvaluationStream.of(trainer), trainer.state.fn == "fit"
    place = "fit" if in_fit else stage_of(trainer)
    for note in _overhead(stream, stream.members).notes if in_fit else ():
        rank_zero_info(f"lightning_posttrain: {note}.")
    moment = {"epoch": epoch_of(trainer, place), "step": step_of(trainer)}
    written = _written(stream, stream.members[:], place, moment)
    stream.outlet.ending[place] = reporter.report(trainer, f"{place}/{TAG}", written).do


def _written(
    stream: EvaluationStream, members: Sequence[Member], place: str, moment: Mapping[str, int]
) -> Iterator[Tagged]:
    """What was taken until it is asked for."""
    found = _overhead(stream, members)
    for tagged in with_record(TAG, found, moment, found.shown()):
        yield Tagged(f"{place}/{tagged.tag}", tagged.artifact)


def _overhead(stream: EvaluationStream, members: Sequence[Member]) -> Overhead:
    budget = stream.costs.budget
    seconds, rows = stream.costs.read([(member.action, _name(*member.slot)) for member in members])
    limits = {member.max_overhead for member in members if member.max_overhead is not None}
    return Overhead(seconds, rows, budget.spent, tuple(sorted(limits)), budget.asked, budget.left_out)


def _name(kind: str, name: str | None) -> str:
    return f"{kind} ({name})" if name else kind
