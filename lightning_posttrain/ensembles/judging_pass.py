"""Members that were not judged in the fit are judged in a pass of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.stream.extra_pass import extra_pass
from lightning_posttrain.core.stream.ranks import on_each_rank, sum_over_ranks
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.ensembles.gathering import Gathering, rows_of
from lightning_posttrain.ensembles.kept_scores import KeptScores, RowScores
from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import MemberState

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class JudgingPass:
    """Judges members on the validation data, in a pass of their own.

    Args:
        trainer: of the run.
        module: whose architecture they have.
        reading: of the scores.
        columns: classes or labels, where a rank sees no batch.
        on: where members' weights lie.
        forward_fn: from the module and inputs to scores, or None.
    """

    trainer: Trainer
    module: LightningModule
    reading: ClassReading
    columns: int
    on: Any
    forward_fn: Any = None

    def scores(self, states: Sequence[MemberState], *, rows: int | None = None) -> KeptScores:
        """Scores of members on validation; all ranks together.

        Args:
            states: the members.
            rows: as many at least are enough; None for all.

        Raises:
            ValueError: there is no validation data, or none that can be read.
        """
        members, found = Members(states, on=self.on), list[RowScores]()

        def see(batch: EvalBatch, again: Replay) -> None:
            batches = members.scores(self.trainer, self.module, again, batch, forward_fn=self.forward_fn)
            if not found:
                found.append(self._table(len(states), batch.num_classes))
            found[0].update(batches)

        on_each_rank(self.trainer, lambda: extra_pass(self.trainer, self.module, self.reading, see, rows=rows))
        table = found[0] if found else self._table(len(states), self.columns)
        sum_over_ranks(self.trainer, [table])
        return table.kept()

    def _table(self, members: int, columns: int) -> RowScores:
        return rows_of(self.trainer, members, columns, labels=self.reading.task == "multilabel")


def table_of(
    trainer: Trainer, states: Sequence[MemberState], gathering: Gathering, judging: JudgingPass
) -> KeptScores | None:
    """Scores of all members on the same rows: those that the fit has given, and of the others from one pass.

    All ranks together; None on all but the first.

    Raises:
        ValueError: there is no validation data, or none that can be read.
    """
    known = [gathering.of(state.mark) for state in states]
    lacking = _of_first(trainer, [place for place, kept in enumerate(known) if kept is None])
    judged = judging.scores([states[place] for place in lacking]) if lacking else None
    for column, place in enumerate(lacking):
        assert judged is not None
        known[place] = replace(judged, scores=judged.scores[:, column : column + 1])
    tables = [kept for kept in known if kept is not None]
    same = all(tables[0].same_rows(other) for other in tables) if trainer.is_global_zero else True
    if not _of_first(trainer, same):  # a loader that shuffles: only what comes in one pass goes together
        return judging.scores(states)
    if not trainer.is_global_zero:
        return None
    return replace(tables[0], scores=torch.cat([table.scores for table in tables], 1))


def table_with(
    table: KeptScores | None, states: Sequence[MemberState], soups: Sequence[MemberState], judging: JudgingPass
) -> KeptScores | None:
    """Scores of members, and of averages of them on the same rows; all ranks together, None on all but the first."""
    more = judging.scores(soups)
    if not _of_first(judging.trainer, True if table is None else table.same_rows(more)):
        more = judging.scores([*states, *soups])
        return None if table is None else more
    return None if table is None else replace(table, scores=torch.cat([table.scores, more.scores], 1))


def _of_first(trainer: Trainer, found: Found) -> Found:
    shared: Found = trainer.strategy.broadcast(found)
    return shared


def table_of_pass(trainer: Trainer, rows: RowScores | None, *, members: int, columns: int, labels: bool) -> KeptScores:
    """Scores of all members from the pass of ``validate``; all ranks together."""
    table = rows or rows_of(trainer, members, columns, labels=labels)
    sum_over_ranks(trainer, [table])
    return table.kept()


def entry_of(trainer: Trainer, reading: ClassReading) -> str:
    """Dotted name of the module whose output the scores of validation are, "" for the LightningModule."""
    finder: Any = EvaluationStream.of(trainer).reader.told.finder("val/0", reading)
    call = getattr(finder, "call", None)
    if call is None or call.source.module != call.module or call.source.path:
        return ""
    return str(call.module)
