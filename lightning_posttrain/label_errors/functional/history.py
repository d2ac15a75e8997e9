"""How each sample fares over the epochs: a table with a row for each position of the dataset, on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from lightning_posttrain.label_errors.functional.columns import CLASSES, COUNTS, DECAY, ColumnForm, widened
from lightning_posttrain.label_errors.functional.confident_learning import label_errors
from lightning_posttrain.label_errors.functional.saved_table import restored, saved
from lightning_posttrain.label_errors.result import Events, SampleHistory

INTEGERS = torch.int32
AT_ONCE = 1 << 22
"""Numbers that are worked on at once at the end of an epoch, so that it takes little memory beside the table."""


@final
class HistoryTable:
    """Histories of ``size`` samples.

    An epoch is any number of ``add``, then ``merge_across`` where there are ranks, then ``end_epoch``. A sample that
    comes twice in an epoch counts once, as it came last. Learned and forgotten are as in ``SampleHistory``.

    The probabilities of a sample are averaged over the epochs that saw it, each weighing 0.8 of the next, and divided
    by the sum of the weights, so that the mean is right from the first epoch on.

    Up to 1 MiB at the end of an epoch (28 bytes a sample, and 4 for each class where probabilities are kept) all is
    kept as it came. A larger table has 8 to 10 bytes a sample, and 1 for each class: losses are rounded to 3 digits,
    float16, and mean probabilities to 1/255 at each epoch, which moves them by at most 0.0098. Counts stay exact. While
    an epoch runs it has 8 to 16 bytes and 2, or 4, for each class beside.

    Args:
        size: length of the dataset.
        num_classes: ``C``.
        keep_probabilities: whether to average them, which tells probable label errors.
        device: where the states live.
    """

    def __init__(
        self, size: int, num_classes: int, *, keep_probabilities: bool, device: torch.device | str = "cpu"
    ) -> None:
        self.size, self.num_classes = size, num_classes
        self.form = form = ColumnForm.of(size, num_classes, probabilities=keep_probabilities)
        kept = dict.fromkeys(CLASSES, form.classes) | {"loss": form.loss} | dict.fromkeys(COUNTS, form.counts)
        fresh = dict.fromkeys(CLASSES, form.classes) | {"loss": form.loss}
        with torch.inference_mode(False):
            self._kept = {name: torch.zeros(size, dtype=dtype, device=device) for name, dtype in kept.items()}
            # the last row takes what does not count: to choose rows by a mask would make the host wait for the device
            self._fresh = {name: torch.zeros(size + 1, dtype=dtype, device=device) for name, dtype in fresh.items()}
            self._turn = torch.zeros(size + 1, dtype=INTEGERS, device=device)
            if keep_probabilities:
                self._kept["probabilities"] = torch.zeros(size, num_classes, dtype=form.mean, device=device)
                self._fresh["probabilities"] = torch.zeros(size + 1, num_classes, dtype=form.given, device=device)
            self._outside = torch.zeros(1, dtype=torch.int64, device=device)
            # epochs that ended; samples learned, forgotten and always wrong at the last
            self._events = torch.zeros(4, dtype=torch.int64, device=device)
        self._turns = 0

    @torch.no_grad()
    def add(
        self,
        index: Tensor,
        target: Tensor,
        predicted: Tensor,
        loss: Tensor,
        probabilities: Tensor | None,
        counted: Tensor,
    ) -> None:
        """Take in a batch, without a synchronisation.

        Args:
            index: position of each row in the dataset ``(M,)``, int64.
            target: ``(M,)``, 0 to ``C - 1`` where the row counts.
            predicted: ``(M,)``.
            loss: ``(M,)``.
            probabilities: ``(M, C)``; not needed where they are not kept.
            counted: ``(M,)`` bool, False for rows to leave out.
        """
        inside = (index >= 0) & (index < self.size)
        self._outside += (counted & ~inside).sum()
        place = torch.where(counted & inside, index, self.size)
        turn = torch.arange(self._turns + 1, self._turns + 1 + len(index), dtype=INTEGERS, device=index.device)
        self._turns += len(index)
        self._turn.scatter_reduce_(0, place, turn, "amax")
        # of rows with one place the last wins, whatever the order in which a device writes
        place = torch.where(self._turn[place] == turn, place, self.size)
        batch = {"label": target, "predicted": predicted, "loss": loss, "probabilities": probabilities}
        for name, state in self._fresh.items():
            values = batch[name]
            if values is None:
                raise ValueError("`probabilities` is None, wanted (M, C). Pass them, or say keep_probabilities=False.")
            values = self.form.losses(values.detach()) if name == "loss" else values.detach()
            state[place] = values.to(state.dtype)

    @torch.no_grad()
    def merge_across(self, reduce: Callable[[Tensor], Tensor], *, rank: int = 0, world: int = 1) -> None:
        """Bring together what ranks wrote in this epoch; every rank calls it, and has the same table after.

        A sample that several ranks wrote counts once, as the lowest of them had it.

        Args:
            reduce: the sum of a tensor over ranks; it may change the tensor.
            rank: which rank this is.
            world: how many there are.
        """
        mine = self._turn[: self.size] > 0
        # the lowest rank is found bit by bit, from the highest: where one without the bit is left, those with it go
        for bit in reversed(range((world - 1).bit_length())):
            without = mine if not rank >> bit & 1 else torch.zeros_like(mine)
            mine = mine & (without | (reduce(without.to(INTEGERS)) == 0))
        self._turn[: self.size] = reduce(mine.to(INTEGERS))
        self._outside.copy_(reduce(self._outside.clone()))
        for state in self._fresh.values():
            # not every backend sums numbers of one or two bytes
            wide = torch.float32 if state.is_floating_point() else INTEGERS
            for rows in self._pieces():
                part, own = state[rows], mine[rows] if state.dim() == 1 else mine[rows, None]
                part.copy_(reduce(torch.where(own, part, 0).to(wide)))

    @torch.inference_mode(False)  # what is made in inference mode could not be changed outside it
    @torch.no_grad()
    def end_epoch(self) -> None:
        """Add what the epoch told to the histories.

        Raises:
            ValueError: rows had a position outside of the dataset; then nothing is added.
        """
        written = self._turn[: self.size] > 0
        fresh = {name: state[: self.size] for name, state in self._fresh.items()}
        self._turn.zero_()
        self._turns = 0
        self._check_outside()
        right, was_right = (each["predicted"] == each["label"] for each in (fresh, self._kept))
        again = written & (self._kept["seen"] > 0)
        told = {"learned": again & right & ~was_right, "forgotten": again & ~right & was_right}
        seen_before = self._kept["seen"]
        for name, more in {**told, "wrong": written & ~right, "seen": written}.items():
            self._kept[name] = widened(self._kept[name]) + more
        for name, values in fresh.items():
            if name != "probabilities":
                self._kept[name].copy_(torch.where(written, values, self._kept[name]))
        if self.keeps_probabilities:
            self._average(written, seen_before)
        always = (self._kept["seen"] > 0) & (self._kept["wrong"] == self._kept["seen"])
        self._events[1:] = torch.stack([told["learned"].sum(), told["forgotten"].sum(), always.sum()])
        self._events[0] += 1

    def _average(self, written: Tensor, seen_before: Tensor) -> None:
        """Bring the epoch's probabilities into the means."""
        kept, fresh = self._kept["probabilities"], self._fresh["probabilities"]
        for rows in self._pieces():
            weighted = self.form.weighted(kept[rows], seen_before[rows])
            weight = written[rows].to(torch.float32) * (1 - DECAY)
            after = weighted.lerp(fresh[: self.size][rows].to(torch.float32), weight[:, None])
            # what was not seen is left as it is: to round it once more would move it
            found = self.form.kept(after, self._kept["seen"][rows])
            kept[rows] = torch.where(written[rows, None], found, kept[rows])

    def _pieces(self) -> Iterator[slice]:
        step = max(AT_ONCE // self.num_classes, 1)
        return (slice(first, min(first + step, self.size)) for first in range(0, self.size, step))

    def _check_outside(self) -> None:
        outside = int(self._outside)
        self._outside.zero_()
        if outside:
            raise ValueError(
                f"`index` of {outside} rows is outside of 0 to {self.size - 1}, the positions of the dataset. Pass "
                "the length of the dataset that the loader reads as `size`."
            )

    @torch.no_grad()
    def probabilities(self) -> Tensor | None:
        """The mean probabilities ``(size, C)`` on the CPU, zeros for a sample not seen; None if not kept.

        In float64 where they are exact, in float32 where they are rounded.
        """
        if not self.keeps_probabilities:
            return None
        return self.form.means(self._kept["probabilities"].cpu(), self._kept["seen"].cpu())

    @property
    def keeps_probabilities(self) -> bool:
        """Whether probabilities are averaged."""
        return "probabilities" in self._kept

    def losses(self) -> Tensor:
        """The loss of each sample when last seen ``(size,)``; NaN for one not seen."""
        return torch.where(self._kept["seen"] > 0, self._kept["loss"], torch.nan)

    def ended(self) -> HistoryTable:
        """Itself as it would be if the running epoch had ended."""
        table = copy.deepcopy(self)
        table.end_epoch()
        return table

    def events(self, epoch: int) -> Events:
        """What happened in the epoch that ended last, under its number in the run."""
        _, *counts = self._events.tolist()
        return Events(epoch, *counts)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the epochs which ended have told, on the CPU, compressed where the table rounds."""
        return saved(self._states(), compressed=self.form.rounds)

    def load_state_dict(self, state: Mapping[str, Any], *, epochs: int | None = None) -> None:
        """Go on from what ``state_dict`` gave; a table that rounds also from the state of one that does not.

        Args:
            state: of any table.
            epochs: how many have ended, where that is known.

        Raises:
            ValueError: it is of another dataset, of other classes or epochs, without the probabilities that are to be
                kept, or broken; then nothing is changed.
        """
        own = self._states()
        shapes = {name: tuple(value.shape) for name, value in own.items()}
        found = restored(state, shapes, form=self.form, num_classes=self.num_classes)
        if epochs is not None and epochs != int(found["events"][0]):
            raise ValueError(f"`state` is of {int(found['events'][0])} epochs, wanted {epochs}. Start anew.")
        with torch.inference_mode(False):
            self._kept = {name: found[name].to(value.device, copy=True) for name, value in self._kept.items()}
        self._events.copy_(found["events"])

    def _states(self) -> dict[str, Tensor]:
        return {**self._kept, "events": self._events}

    def result(self, class_names: Sequence[str]) -> SampleHistory:
        """The histories of the samples that were seen, on the CPU."""
        epochs = int(self._events[0])
        index = (self._kept["seen"].cpu() > 0).nonzero()[:, 0]
        whole: dict[str, Any] = {name: self._kept[name].cpu()[index].long() for name in (*CLASSES, *COUNTS)}
        mean = self.probabilities()
        return SampleHistory(
            index=index,
            loss=self._kept["loss"].cpu()[index].float(),
            errors=None if mean is None else label_errors(mean[index], whole["label"]),
            class_names=tuple(class_names),
            events=self.events(epochs - 1) if epochs else None,
            **whole,
        )
