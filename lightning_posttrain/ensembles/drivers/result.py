"""The result of a driver: its members, their weights, and figures of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

from lightning_posttrain.core.output.restored import restored_fields
from lightning_posttrain.core.output.result import Counted, listed, undefined_to_none
from lightning_posttrain.ensembles.drivers.figures import Comparison, OutOfBag
from lightning_posttrain.ensembles.drivers.folder import MemberRecord


@final
@dataclass(frozen=True, eq=False)
class Fits(Counted):
    """The members of a run, and what is known of them together.

    Args:
        kind: ``"Seeds"``, ``"Bagging"`` or ``"Boosting"``.
        folder: where they are.
        monitor: what each member's checkpoint is best in, or None.
        records: of each member that was tried, in order.
        weights: of those of ``members``, in order; they sum to 1.
        out_of_bag: figures of training rows by members that did not see them, of bagging.
        comparison: all against the first, of boosting.
        stopped: why boosting ended before its last member, or "".
        remarks: why figures are missing, and what else to know.
    """

    recorded_as: ClassVar[str] = "ensemble_fits"

    kind: str
    folder: str
    monitor: str | None
    records: tuple[MemberRecord, ...]
    weights: tuple[float, ...]
    out_of_bag: OutOfBag | None = None
    comparison: Comparison | None = None
    stopped: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def members(self) -> list[str]:
        """Paths of the checkpoints, which ``CheckpointEnsemble(members=...)`` takes."""
        return [str(Path(self.folder) / record.checkpoint) for record in used(self.records)]

    @property
    def words(self) -> str:
        """What there is, in sentences."""
        return " ".join(filter(None, [self._counted, *self._judged, *self.remarks]))

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences of ``words``, each by itself."""
        return tuple(filter(None, [self._counted, *self._judged, *self.remarks]))

    def __str__(self) -> str:
        return self.words

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values; paths of members are relative to the folder."""
        figures = {"out_of_bag": self.out_of_bag, "comparison": self.comparison}
        plain = {name: None if part is None else part.to_dict() for name, part in figures.items()}
        records = [vars(record) for record in self.records]
        words = {"words": self.words, "remarks": list(self.remarks), "stopped": self.stopped}
        how = {"kind": self.recorded_as, "driver": self.kind, "monitor": self.monitor, "weights": list(self.weights)}
        members = [record.checkpoint for record in used(self.records)]
        return dict(undefined_to_none({**how, **plain, **words, "members": members, "records": records}))

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Fits:
        """What ``to_dict`` gave; its paths are relative to the folder that it was read from."""
        return restored_fields(cls, {**state, "kind": state["driver"], "folder": ""})

    @property
    def _counted(self) -> str:
        failed = [record for record in self.records if record.status == "failed"]
        scores = [record.score for record in used(self.records) if record.score is not None]
        several = f", {self.monitor} {min(scores):.4g} to {max(scores):.4g}" if scores else ""
        said = f"{self.kind}: {_number(len(self.members))}{several}."
        if failed:
            reasons = listed(sorted({record.reason for record in failed}), 3)
            said += f" {_number(len(failed))} failed ({reasons}); started again, the run tries them again."
        return said

    @property
    def _judged(self) -> list[str]:
        parts = [part.words for part in (self.out_of_bag, self.comparison) if part is not None]
        return [*([f"It ended: {self.stopped}."] if self.stopped else []), *parts]


def used(records: Sequence[MemberRecord]) -> list[MemberRecord]:
    """The members of an ensemble: those that are complete and have a weight."""
    complete = [record for record in records if record.status == "complete"]
    return [record for record in complete if (record.notes or {}).get("alpha", 1.0) > 0]


def _number(members: int) -> str:
    return f"{members} member{'' if members == 1 else 's'}"
