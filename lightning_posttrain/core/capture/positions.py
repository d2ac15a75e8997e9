"""Whether a batch's rows are where in the dataset the sampler says: proven before it is believed.

Where all in a loader is torch's, see ``own_order``, rows are where the sampler says, and nothing is asked. Else a few
items of the batch are asked of the dataset anew, each made into a batch of its own by the loader's ``collate_fn``, read
as the batch was, and looked for among the batch's rows:

- found in its own row: so it is, and the fewer other rows are like it, the less by chance;
- found in other rows alone, and again when asked twice: positions are refuted for the rest of the run;
- found nowhere, as after random augmentation, or a transform on the device: it says nothing.

A ``collate_fn`` is also given some items from all over the dataset together, and its rows are compared in the same way
with those of each item alone: whether it keeps their order depends on no augmentation, and on no batch whose rows are
all alike. Positions are believed when the chance that rows in a random order agree as well is at most 5 %, and where
nothing but hooks may rearrange, until they are refuted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_posttrain.core.capture.dataset_copy import dataset_copy
from lightning_posttrain.core.capture.loaders import Rows
from lightning_posttrain.core.capture.own_order import own_collate, own_order, rearranged
from lightning_posttrain.core.capture.rows_alike import Columns, asked_share, columns

SECONDS, ITEMS = 0.5, 64
"""What a loader's proof may take in a run, but for the item at which the time is over."""
EACH = 8
"""Items that are compared in a batch."""
CHANCE = 0.05
"""That rows in a random order agree as well."""
WITHOUT = "; samples are shown, and losses are mined, without them"
KEEP_ORDER = (
    "Keep the dataset's order: torch's SequentialSampler draws in it, and pack_padded_sequence(..., "
    "enforce_sorted=False) needs no batches that are sorted by length."
)
NO_PROOF = "torch's own collate_fn, sampler and DataLoader need no proof."


class Again:
    """Asks a copy of a loader's dataset for items, and reads batches of them as those of the run were read.

    Args:
        loader: whose dataset and ``collate_fn``.
        read: from a batch to what is compared of it.
    """

    def __init__(self, loader: Any, read: Callable[[Any], Any]) -> None:
        self._dataset = dataset_copy(loader.dataset)
        self._collate = loader.collate_fn
        self._read = read
        self.size = len(self._dataset)

    def item(self, position: int) -> Any:
        """One of the dataset, asked for as the loader does it."""
        several = getattr(self._dataset, "__getitems__", None)
        return several([position])[0] if callable(several) else self._dataset[position]

    def batch(self, *items: Any) -> Columns:
        """What is read of some items together."""
        return columns(self._read(self._collate(list(items))))

    def alone(self, position: int) -> Columns:
        """What is read of an item that is a batch of its own."""
        return self.batch(self.item(position))


@dataclass(eq=False)
class Trial:
    """What is known of a loader.

    Args:
        order: the sampler or loader that may have another order.
        collate: the ``collate_fn`` that may have another order.
        hooks: whether hooks may rearrange.
    """

    order: str
    collate: str
    hooks: bool
    by_batches: float = 1.0
    by_collate: float = 1.0
    refuted: str = ""
    failed: str = ""
    seen: int = 0
    items: int = ITEMS
    seconds: float = SECONDS

    @property
    def chance(self) -> float:
        """That what was compared would agree as well in a random order."""
        return self.by_batches * (1.0 if self.order else self.by_collate)

    @property
    def sure(self) -> bool:
        """Whether no proof is needed."""
        return not (self.order or self.collate or self.hooks)

    @property
    def over(self) -> bool:
        """Whether no more is asked for."""
        return bool(self.sure or self.refuted or self.failed) or self.items <= 0 or self.seconds <= 0

    @property
    def due(self) -> bool:
        """Whether items of this batch are asked for: until it is proven, then of the 2nd, 4th, 8th, 16th of the run."""
        return not self.over and (self.chance > CHANCE or self.seen & (self.seen - 1) == 0)

    @property
    def believed(self) -> bool:
        """Whether positions are what the sampler says."""
        return not self.refuted and (not (self.order or self.collate) or self.chance <= CHANCE)

    @property
    def doubt(self) -> str:
        """Why they are not, with the cure; nothing while they are, or while it is not settled."""
        if self.refuted:
            return f"{self.refuted}{WITHOUT}. {KEEP_ORDER}"
        if self.believed or (self.chance < 1 and not self.over):
            return ""
        slow = "it takes long to ask for dataset[i]" if self.seconds <= 0 else ""
        why = self.failed or slow or "too little of dataset[i] is found again in its batch"
        return f"{self.order or self.collate} may change the order, and {why}{WITHOUT}. {NO_PROOF}"

    def attempt(self, loader: Any, index: Tensor, came: Any, read: Callable[[Any], Any]) -> None:
        """Ask for some items of a batch; generators are as before, and what goes wrong is a reason for doubt."""
        until = time.perf_counter() + self.seconds
        with isolate_rng(), torch.no_grad():
            try:
                again = Again(loader, read)
                self._of_batch(again, index, columns(came), until)
                if self.collate and self.seen == 1:
                    self._of_collate(again, until)
            except Exception as error:
                self.failed = f"dataset[i] could not be compared ({type(error).__name__}: {error})"
        self.seconds = until - time.perf_counter()

    def _of_batch(self, again: Again, index: Tensor, came: Columns, until: float) -> None:
        """Compare the first row, the last and some between."""
        placed = [(row, position) for row, position in enumerate(index.tolist()) if position < again.size]
        free = torch.ones(len(index), dtype=torch.bool)
        for row, position in (placed[i] for i in _evenly(len(placed))):
            if self._ends(until):
                return
            share = asked_share(came, partial(again.alone, position), row, free)
            if share is None:
                suspect = self.order or self.collate or "a hook such as on_after_batch_transfer"
                self.refuted = f"row {row} of a batch is not dataset[{position}], which {suspect} may have moved"
            else:
                free[row] = share == 1  # a row in which nothing was found may still be any other's
                self.by_batches *= share

    def _of_collate(self, again: Again, until: float) -> None:
        """Compare what ``collate_fn`` makes of some items together with what it makes of each."""
        items = [again.item(position) for position in _evenly(again.size) if not self._ends(until)]
        if len(items) < 2:
            return
        together, free = again.batch(*items), torch.ones(len(items), dtype=torch.bool)
        for row, item in enumerate(items):
            share = asked_share(together, partial(again.batch, item), row, free)
            if share is None:
                self.refuted = f"a sample comes out of {self.collate} in another row than it goes in"
                return
            free[row] = share == 1
            self.by_collate *= share

    def _ends(self, until: float) -> bool:
        """Whether no other item is asked for; if not, it is counted."""
        ends = self.over or time.perf_counter() > until
        self.items -= not ends
        return ends


def _evenly(count: int) -> list[int]:
    """Some of so many, the first and the last among them."""
    chosen: list[int] = torch.linspace(0, count - 1, min(EACH, count), dtype=torch.float64).round().long().tolist()
    return chosen


class Positions:
    """The positions of a run's loaders, each proven by itself, on each rank.

    At most 64 items and half a second for each loader and run, but for the item at which the time is over. They are
    asked of a copy of the dataset, see ``dataset_copy``; what lies deeper, as the generator of a transform, and
    ``collate_fn`` are the user's own.

    Args:
        say: warns of a text, once for each key.
    """

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._trials: WeakKeyDictionary[Any, Trial] = WeakKeyDictionary()

    def proven(
        self,
        trainer: Any,
        loader: Any,
        rows: Rows,
        came: Any,
        read: Callable[[Any], Any],
        *,
        key: str,
        wanted: bool = True,
    ) -> Rows:
        """The rows, without positions where these are not known to be true.

        Args:
            trainer: of the run.
            loader: that the batch came from.
            rows: as they were counted.
            came: what was read of the batch: a dataclass, tuple or dict of tensors.
            read: reads the same of another batch.
            key: the loader's name, as ``"val"``.
            wanted: whether anybody names samples; if not, nothing is asked, and positions are given where they need
                no proof.
        """
        if rows.index is None:
            return rows
        if loader not in self._trials:
            hooks = rearranged(trainer.lightning_module, getattr(trainer, "datamodule", None))
            self._trials[loader] = Trial(own_order(loader), own_collate(loader), hooks)
        trial = self._trials[loader]
        if not wanted:
            return rows if trial.sure else Rows(rows.valid, None)
        trial.seen += 1
        if trial.due:
            trial.attempt(loader, rows.index, came, read)
        if trial.doubt:
            text = f"lightning_posttrain: positions of {key} in the dataset are not known: {trial.doubt}"
            self._say(text, f"positions of {key}")
        return rows if trial.believed else Rows(rows.valid, None)
