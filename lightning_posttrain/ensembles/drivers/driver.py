"""The loop over members that all drivers have."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning_posttrain.classification import EvaluationOptions
from lightning_posttrain.core.callback.options import at_least, one_of
from lightning_posttrain.core.runs.chatter import without_chatter
from lightning_posttrain.core.runs.failures import free_memory, reason_of
from lightning_posttrain.core.runs.isolation import isolated, seed_of
from lightning_posttrain.ensembles.drivers import folder as disk
from lightning_posttrain.ensembles.drivers.data import Data, Remake
from lightning_posttrain.ensembles.drivers.folder import MemberRecord
from lightning_posttrain.ensembles.drivers.lock import one_at_a_time
from lightning_posttrain.ensembles.drivers.member import Make, Member, Recipe
from lightning_posttrain.ensembles.drivers.options import ELSEWHERE, check_trainer, plain
from lightning_posttrain.ensembles.drivers.result import Fits

ALIKE = 3
"""So many members that fail at the start, all for one reason, end a run."""


@dataclass(frozen=True)
class Run:
    """One call of ``fit``.

    Args:
        recipe: how members are made.
        data: what they are trained on.
        rows: of the training dataset; 0 where they are not known.
        folder: where they are kept.
        warned: warnings that were shown.
    """

    recipe: Recipe
    data: Data
    rows: int
    folder: Path
    warned: set[tuple[Any, ...]] = field(default_factory=set)

    def home(self, member: int) -> Path:
        """A member's folder."""
        return disk.member_folder(self.folder, member)


class Driver(ABC):
    """Base of all drivers: fits members one after the other, each in a folder of its own.

    Args:
        build: gives a new LightningModule, of either namespace, in each call.
        members: how many.
        seed: that all random numbers follow from; member ``k`` is the same whatever ``members`` is.
        monitor: a logged figure, as ``"val/loss"``, in whose best epoch a member is taken. Default: its last epoch.
        mode: whether the best is the smallest, ``"min"``, or the largest, ``"max"``.
        callbacks: from a member's number to further callbacks of its Trainer, new ones in each call.
        loggers: from a member's number to its loggers. Default: none.
        resume: ``"begin"``: a member that was interrupted begins again, and is bit for bit what it would have been.
            ``"checkpoint"``: it goes on from its last epoch, for long fits; then rows come in another order.
        reading: how class scores are read, as ``{"scores_fn": ...}``: what ``StreamCallback`` takes. Default: found by
            itself.
        judged_rows: rows that figures of the members together are of at most, drawn at random where there are more.
        progress: whether a bar counts members.
    """

    kind: ClassVar[str]
    chained: ClassVar[bool] = False
    """Whether a member depends on those before it, so that none can do without the first."""

    def __init__(
        self,
        build: Callable[[], Any],
        *,
        members: int = 5,
        seed: int = 0,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        callbacks: Make | None = None,
        loggers: Make | None = None,
        resume: Literal["begin", "checkpoint"] = "begin",
        reading: EvaluationOptions | None = None,
        judged_rows: int = 20_000,
        progress: bool = True,
    ) -> None:
        one_of("mode", mode, ("min", "max"))
        one_of("resume", resume, ("begin", "checkpoint"))
        at_least("members", members, 1)
        at_least("seed", seed, 0)
        at_least("judged_rows", judged_rows, 1)
        for name, value in {"build": build, "callbacks": callbacks, "loggers": loggers}.items():
            if value is not None and not callable(value):
                raise ValueError(f"`{name}` is a {type(value).__name__}, wanted a function that makes what it gives.")
        self.members = members
        self.seed = seed
        self.judged_rows = judged_rows
        self.progress = progress
        self._recipe = Recipe(build, monitor, mode, callbacks, loggers, resume, reading or {}, {})

    def fit(
        self, train: Any, val: Any = None, *, folder: str | Path, batch_size: int | None = None, **trainer: Any
    ) -> Fits:
        """Fit the members that are not yet finished, and say what they come to.

        Stopped at any moment, and called again with the same arguments, it goes on. More ``members`` may be asked for
        then; other settings are refused. Ranks are forked or spawned with ``strategy="ddp_fork"`` or ``"ddp_spawn"``.

        Args:
            train: a dataset, a DataLoader, whose settings are kept, or a LightningDataModule.
            val: a dataset or a DataLoader; None where there is none, or ``train`` is a datamodule.
            folder: where members are kept; it can be moved. What an unfinished member has left in its own is removed.
            batch_size: of datasets, 32 by default.
            **trainer: what else a Trainer takes, as ``max_epochs``; the same for each member.

        Raises:
            ValueError: arguments do not go together, or not with what is in the folder.
            TypeError: ``build`` gave no LightningModule, or the Trainer does not know an argument.
            RuntimeError: another process is at work in the folder; or members failed, the first ones all for one
                reason, or all of them.
        """
        check_trainer(trainer)
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path):
            data = Data.of(train, val, batch_size=batch_size, seed=self.seed)
            rows = self._rows(data)
            run = Run(self._recipe_with(trainer), data, rows, path)
            disk.agree(path, self.settings(run))
            fits = self.result(run, self._records(run))
            disk.write_json(path / "result.json", fits.to_dict())
        return fits

    @abstractmethod
    def remake(self, run: Run, member: int) -> Remake:
        """How the training loader of a member is made."""

    @abstractmethod
    def judge(self, run: Run, member: Member) -> dict[str, Any]:
        """What is noted of a member that has been fitted."""

    @abstractmethod
    def result(self, run: Run, records: Sequence[MemberRecord]) -> Fits:
        """What the members come to."""

    def check_rows(self, data: Data) -> int | None:
        """How many training rows there are; raises where they cannot be drawn from."""
        return data.rows

    def settings(self, run: Run) -> dict[str, Any]:
        """What must be the same when a run is started again."""
        recipe = run.recipe
        given = {name: plain(value) for name, value in recipe.trainer.items() if name not in ELSEWHERE}
        own = {"monitor": recipe.monitor, "mode": recipe.mode, "rows": run.rows}
        size = {"batch_size": getattr(run.data.train, "batch_size", None)}
        return {"kind": self.kind, "seed": self.seed, **own, **size, **given}

    def _recipe_with(self, trainer: Mapping[str, Any]) -> Recipe:
        return replace(self._recipe, trainer=trainer)

    def _rows(self, data: Data) -> int:
        rows = self.check_rows(data)
        if rows == 0:
            raise ValueError("`train` has no rows, wanted at least one. Check what the dataset is made of.")
        return rows or 0

    def _records(self, run: Run) -> list[MemberRecord]:
        from tqdm.auto import tqdm

        records: list[MemberRecord] = []
        with tqdm(total=self.members, desc=self.kind, unit=" members", disable=not self.progress) as bar:
            for member in range(self.members):
                records.append(disk.finished(run.home(member)) or self._fitted(run, member))
                bar.update()
                if records[-1].score is not None:
                    bar.set_postfix({str(run.recipe.monitor): f"{records[-1].score:.4g}"})
                check_failures(records, 1 if self.chained else self.members)
                if self.stopped(records):
                    break
        return records

    def stopped(self, records: Sequence[MemberRecord]) -> str:
        """Why no further member is wanted, or ""."""
        return ""

    def _fitted(self, run: Run, number: int) -> MemberRecord:
        """Fit one member; a failure of the fit is recorded, one of its making is raised."""
        home, seed = run.home(number), seed_of(self.seed, number)
        disk.begin(home, keep=run.recipe.resume == "checkpoint")
        with without_chatter(run.warned), isolated(seed):
            record = self._tried(run, Member(run.recipe, run.data, number=number, seed=seed, home=home))
        disk.end(home, record)
        if record.reason:
            free_memory()
            warnings.warn(f"{self.kind}: member {number} failed and is left out. {record.reason}", stacklevel=4)
        return record

    def _tried(self, run: Run, member: Member) -> MemberRecord:
        member.build()
        try:
            fitted = member.fit(self.remake(run, member.number))
            return replace(fitted, notes=self.judge(run, member))
        except Exception as error:
            return MemberRecord(member.number, "failed", member.seed, reason=reason_of(error))


def check_failures(records: Sequence[MemberRecord], wanted: int) -> None:
    """Raise where all have failed, and either are all there are, or enough for one reason.

    Raises:
        RuntimeError: with the reasons.
    """
    reasons = [record.reason for record in records if record.status == "failed"]
    if len(reasons) < len(records):
        return
    if len(records) == wanted or (len(records) >= ALIKE and len(set(reasons)) == 1):
        first = " | ".join(dict.fromkeys(reasons))
        many = "The member" if len(records) == 1 else f"The first {len(records)} members"
        raise RuntimeError(f"{many} failed, and none was finished: {first}")
