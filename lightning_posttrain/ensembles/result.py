"""What an ensemble is worth beside its best member."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.restored import restored_fields
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.ensembles.functional.diversity import Diversity
from lightning_posttrain.ensembles.functional.paired import ROUGH


class Difference(NamedTuple):
    """A mean difference to the best member alone, and its 95 % interval; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval lies below or above 0, else 0."""
        return (self.low > 0) - (self.high < 0)


NO_DIFFERENCE = Difference()


@dataclass(frozen=True)
class StrategyReport:
    """One way to make a prediction of several members.

    Args:
        name: as ``"convex"``.
        title: for people.
        words: what it does with which members.
        members: how many forwards of a member a prediction takes.
        parameters: numbers in the weights of these members.
        accuracy: share of rows that are right.
        log_loss: mean over rows.
        brier, ece: likewise; NaN where they were not worked out.
        loss: log loss less that of the best member alone; below 0 is better.
        hits: accuracy less that of the best member alone.
        validation: log loss on validation, of rows that it was not fitted to; NaN where it is not known.
    """

    name: str
    title: str
    words: str
    members: int
    parameters: int
    accuracy: float
    log_loss: float
    brier: float = math.nan
    ece: float = math.nan
    loss: Difference = NO_DIFFERENCE
    hits: Difference = NO_DIFFERENCE
    validation: float = math.nan


@dataclass(frozen=True)
class MemberReport:
    """A member alone.

    Args:
        name: as ``"epoch 3"``.
        kind: ``"raw"``, ``"ema"``, ``"swa"`` or ``"soup"``.
        accuracy, log_loss, ece: its own.
    """

    name: str
    kind: str
    accuracy: float
    log_loss: float
    ece: float = math.nan


@dataclass(frozen=True, eq=False)
class EnsembleReport:
    """Strategies beside the best member alone, on the same samples.

    Args:
        strategies: from the simplest on; the first is the best member alone.
        members: in the order of the run.
        chosen: name of the strategy that was chosen on validation, "" where nothing was fitted.
        kept: whether it was better there than the best member alone.
        reason: why it was chosen.
        samples: that the figures are of.
        diversity: how members differ.
        held_out: whether each row was predicted by a fit to other rows of this set (validation).
        limits: what was left out.
    """

    recorded_as: ClassVar[str] = "ensemble"

    strategies: tuple[StrategyReport, ...]
    members: tuple[MemberReport, ...]
    chosen: str = ""
    kept: bool = False
    reason: str = ""
    samples: int = 0
    diversity: Diversity | None = None
    held_out: bool = False
    limits: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> StrategyReport:
        """A strategy by its name."""
        for strategy in self.strategies:
            if strategy.name == name:
                return strategy
        raise KeyError(f"{name!r}, wanted one of {', '.join(each.name for each in self.strategies)}")

    @property
    def best(self) -> StrategyReport:
        """The best member alone."""
        return self.strategies[0]

    @property
    def used(self) -> StrategyReport:
        """The strategy to ship."""
        return self[self.chosen] if self.chosen else self.best

    @property
    def words(self) -> str:
        """What it amounts to, in a sentence."""
        if not self.samples:
            return "no rows were counted"
        if not self.chosen:
            return "nothing was fitted on validation; means need no fit"
        if not self.kept:
            return self.reason or f"no ensemble: {self.best.words}"
        used, apart = self.used, self.used.loss
        way, sign = ("below", -1) if apart.value <= 0 else ("above", 1)
        low, high = sorted((sign * apart.low, sign * apart.high))
        within = f" ({low:.3g} to {high:.3g})" if math.isfinite(apart.low) else ""
        return (
            f"{used.words}: log loss {used.log_loss:.4f}, {abs(apart.value):.3g}{within} {way} the best alone, "
            f"{self.best.words.removesuffix(' alone')}"
        )

    @property
    def alerts(self) -> tuple[str, ...]:
        """Where what was chosen on validation does harm on these rows."""
        if not self.held_out and self.chosen and self.kept and self.used.loss.sign > 0:
            return (
                f"the ensemble that was chosen on validation is worse here than its best member alone: log loss "
                f"{self.used.log_loss:.4f}, {self.best.log_loss:.4f} alone. These rows are unlike those of validation",
            )
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What it amounts to, how it was worked out, and what was left out."""
        rough = f"intervals are rough, of {self.samples} samples" if 0 < self.samples < ROUGH else ""
        of = "figures are of rows that a strategy was not fitted to" if self.held_out else ""
        fitted = "" if self.held_out or not self.chosen else "all was fitted and chosen on validation"
        reason = self.reason if self.kept and not self.held_out else ""
        return tuple(note for note in (self.words, *self.alerts, reason, of, fitted, rough, *self.limits) if note)

    def scalars(self) -> dict[str, float]:
        """The figures of the strategy to ship, what it gains, and how much members disagree."""
        used = self.used
        found = {"accuracy": used.accuracy, "log_loss": used.log_loss, "loss_to_best": used.loss.value}
        if not self.held_out:
            found.update(ece=used.ece, brier=used.brier)
        if self.diversity is not None and len(self.members) > 1:
            found["mutual_information"] = self.diversity.information
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything."""
        plain: Mapping[str, Any] = {part.name: getattr(self, part.name) for part in fields(self)}
        strategies = [
            {**vars(each), "loss": each.loss._asdict(), "hits": each.hits._asdict()} for each in self.strategies
        ]
        members = [vars(each) for each in self.members]
        more = {"diversity": None if self.diversity is None else vars(self.diversity), "notes": self.notes}
        parts = {**plain, "strategies": strategies, "members": members, **more}
        said: dict[str, Any] = undefined_to_none({"kind": self.recorded_as, **parts})
        return said

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> EnsembleReport:
        """What ``to_dict`` gave."""
        return restored_fields(cls, state)

    def __str__(self) -> str:
        """A table for people."""
        head = ("", "log loss", "to the best alone", "accuracy", "members")
        rows = [
            (each.title, f"{each.log_loss:.4f}", _apart(each.loss), f"{each.accuracy:.2%}", str(each.members))
            for each in self.strategies
        ]
        return "\n".join([*in_columns([head, *rows]), "", *(f"{note[0].upper()}{note[1:]}." for note in self.notes)])


def _apart(apart: Difference) -> str:
    if math.isnan(apart.value):
        return ""
    if not apart.value and not apart.low and not apart.high:
        return "0"
    return f"{apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})"
