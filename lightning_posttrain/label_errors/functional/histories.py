"""The histories of a run: a table for each loader, how far it has room, and what a checkpoint holds of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.label_errors.functional.columns import ROUNDING, ColumnForm
from lightning_posttrain.label_errors.functional.history import HistoryTable
from lightning_posttrain.label_errors.result import Events, SampleHistory

MEMORY = 1 << 28
"""Bytes of a table; with more, probabilities are left out."""
ROWS = 5_000_000
"""Samples of a table; of a larger dataset every second is followed, or every third and so on."""


@dataclass(eq=False)
class Past:
    """What is known of a loader.

    Args:
        table: of the samples that are followed.
        step: one of so many samples is followed, from the first.
        limits: sentences on what was left out or rounded.
        events: what happened in each epoch.
        open: the epoch whose last batch is in the table, of all ranks, and whose end has not come.
        ended: the epoch that a checkpoint had as ended, and whose end has not come in this run.
    """

    table: HistoryTable
    step: int = 1
    limits: tuple[str, ...] = ()
    events: list[Events] = field(default_factory=list)
    open: int | None = None
    ended: int | None = None

    def place(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table for positions in the dataset ``(M,)``, and which of these are followed."""
        return index.div(self.step, rounding_mode="floor"), index % self.step == 0

    def end_epoch(self, epoch: int) -> None:
        """Add what the epoch told to the histories."""
        self.table.end_epoch()
        self.events.append(self.table.events(epoch))

    def result(self, names: tuple[str, ...], *, passes: bool) -> SampleHistory:
        """The histories; without ``passes``, events are left out, as nothing comes twice."""
        found = self.table.result(names)
        events = found.events if passes else None
        past = tuple(self.events) if passes else ()
        return replace(found, index=found.index * self.step, events=events, past=past, limits=self.limits)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors; an epoch that is open has ended in them."""
        events = [list(event) for event in self.events]
        if self.open is None:
            return {"table": self.table.state_dict(), "events": events}
        ended = self.table.ended()
        more = list(ended.events(self.open))
        return {"table": ended.state_dict(), "events": [*events, more], "ended": self.open}


class Histories:
    """Those of a run, by loader.

    ``sizes`` are the lengths of the datasets, None where one has none; ``known`` the histories that were begun.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int | None] = {}
        self.known: dict[str, Past] = {}
        self._loaded: dict[str, Any] = {}

    @property
    def ends_training(self) -> bool:
        """Whether a checkpoint had a training epoch as ended whose end has not come in this run."""
        return "ended" in self._loaded.get("train", {})

    def past(self, key: str, classes: int, device: torch.device) -> tuple[Past | None, list[str]]:
        """The past of a loader, begun if it has none, and sentences on what it is."""
        size = self.sizes.get(key)
        if not size:
            return None, []
        said = []
        step = -(-size // ROWS)
        rows = -(-size // step)
        if key in self.known and (self.known[key].table.size, self.known[key].step) != (rows, step):
            said.append(f"begins anew for {key}: its dataset has {size:,} samples now")
            del self.known[key]
        if key not in self.known:
            self.known[key], limits = _begun(rows, step, classes, device)
            said += [f"{limit}, in {key}" for limit in limits]
            said += self._go_on(key)
        return self.known[key], said

    def _go_on(self, key: str) -> list[str]:
        """Take up what a checkpoint had, if it is of such a dataset."""
        kept = self._loaded.pop(key, None)
        if kept is None:
            return []
        past = self.known[key]
        try:
            past.table.load_state_dict(kept["table"], epochs=len(kept["events"]))
        except ValueError as error:
            return [f"begins anew for {key}: what the checkpoint has is of another dataset, or broken: {error}"]
        past.events = [Events(*event) for event in kept["events"]]
        past.ended = kept.get("ended")
        return []

    def state_dict(self) -> dict[str, Any]:
        """The histories, also those that a checkpoint had and that were not gone on with yet."""
        return {**self._loaded, **{key: past.state_dict() for key, past in self.known.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with histories, when their first batch comes.

        Raises:
            ValueError: one has not the form of what ``state_dict`` gave.
        """
        for key, kept in state.items():
            _check(key, kept)
        self._loaded = dict(state)


def _begun(rows: int, step: int, classes: int, device: torch.device) -> tuple[Past, tuple[str, ...]]:
    form = ColumnForm.of(rows, classes, probabilities=True)
    pairs = 8 * classes**2  # what confident learning counts
    keep = rows * form.all_bytes(classes, probabilities=True) + pairs <= MEMORY
    table = HistoryTable(rows, classes, keep_probabilities=keep, device=device)
    limits = []
    if step > 1:
        limits.append(f"follows 1 of {step} samples, as there is room for {ROWS:,}")
    if not keep:
        limits.append(f"suspects no labels, as probabilities of {classes:,} classes take more than {MEMORY >> 20} MiB")
    rounded = f"rounds probabilities of {rows:,} samples, so that a score is known to within {ROUNDING:.2f}"
    if table.form.rounds and keep:
        return Past(table, step, (*limits, rounded)), tuple(limits)
    return Past(table, step, tuple(limits)), tuple(limits)


def _check(key: str, kept: Any) -> None:
    """Raise where it is no history; whether it is one of the dataset, its first batch tells."""
    if not isinstance(kept, dict) or not isinstance(kept.get("table"), dict):
        raise ValueError(f"{key!r} has no table of histories.")
    events, ended = kept.get("events"), kept.get("ended", 0)
    whole = isinstance(events, list) and all(
        isinstance(event, (list, tuple)) and len(event) == len(Events._fields) and {type(n) for n in event} == {int}
        for event in events
    )
    if not whole or type(ended) is not int:
        raise ValueError(f"{key!r} has no list of events of {len(Events._fields)} whole numbers each.")
