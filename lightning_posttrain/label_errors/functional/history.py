"""How each sample fares over the epochs: a table with a row for each position of the dataset, on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from lightning_posttrain.label_errors.functional.confident_learning import label_errors
from lightning_posttrain.label_errors.result import Events, SampleHistory

DECAY = 0.8
"""What an epoch's probabilities weigh after the next: the mean is over some five epochs."""
INTEGERS = torch.int32
KEPT = {
    "label": INTEGERS, "predicted": INTEGERS, "loss": torch.float32,
    "learned": INTEGERS, "forgotten": INTEGERS, "wrong": INTEGERS, "seen": INTEGERS,
}  # fmt: skip
"""What is known of a sample at the end of an epoch."""
FRESH = {"label": INTEGERS, "predicted": INTEGERS, "loss": torch.float32}
"""What the running epoch has told."""


@final
class HistoryTable:
    """Histories of ``size`` samples, in 44 bytes each, and ``8 C`` more where probabilities are kept.

    An epoch is any number of ``add``, then ``merge_across`` where there are ranks, then ``end_epoch``. A sample that
    comes twice in an epoch counts once, as it came last. Learned and forgotten are as in ``SampleHistory``.

    The probabilities of a sample are averaged over the epochs that saw it, each weighing 0.8 of the next, and divided
    by the sum of the weights, so that the mean is right from the first epoch on.

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
        with torch.inference_mode(False):
            self._kept = {name: torch.zeros(size, dtype=dtype, device=device) for name, dtype in KEPT.items()}
            # the last row takes what does not count: to choose rows by a mask would make the host wait for the device
            self._fresh = {name: torch.zeros(size + 1, dtype=dtype, device=device) for name, dtype in FRESH.items()}
            self._turn = torch.zeros(size + 1, dtype=INTEGERS, device=device)
            if keep_probabilities:
                self._kept["probabilities"] = torch.zeros(size, num_classes, dtype=torch.float32, device=device)
                self._fresh["probabilities"] = torch.zeros(size + 1, num_classes, dtype=torch.float32, device=device)
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
            state[place] = values.detach().to(state.dtype)

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
            rows = state[: self.size]
            chosen = mine if rows.dim() == 1 else mine[:, None]
            rows.copy_(reduce(torch.where(chosen, rows, 0)))

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
        kept = self._kept
        right, was_right = (each["predicted"] == each["label"] for each in (fresh, kept))
        again = written & (kept["seen"] > 0)
        learned, forgotten = again & right & ~was_right, again & ~right & was_right
        kept["learned"] += learned
        kept["forgotten"] += forgotten
        kept["wrong"] += written & ~right
        kept["seen"] += written
        for name in FRESH:
            kept[name].copy_(torch.where(written, fresh[name], kept[name]))
        if "probabilities" in kept:
            weight = written.to(torch.float32) * (1 - DECAY)
            kept["probabilities"].lerp_(fresh["probabilities"], weight[:, None])
        always = (kept["seen"] > 0) & (kept["wrong"] == kept["seen"])
        self._events[1:] = torch.stack([learned.sum(), forgotten.sum(), always.sum()])
        self._events[0] += 1

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
        """The mean probabilities ``(size, C)`` float64 on the CPU, zeros for a sample not seen; None if not kept."""
        if "probabilities" not in self._kept:
            return None
        weights = 1 - DECAY ** self._kept["seen"].cpu().double()
        return self._kept["probabilities"].cpu().double() / weights.clamp(min=1 - DECAY)[:, None]

    @property
    def keeps_probabilities(self) -> bool:
        """Whether probabilities are averaged."""
        return "probabilities" in self._kept

    def losses(self) -> Tensor:
        """The loss of each sample when last seen ``(size,)`` float32; NaN for one not seen."""
        return torch.where(self._kept["seen"] > 0, self._kept["loss"], torch.nan)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the epochs which ended have told, on the CPU; of an epoch that is running, nothing."""
        return {name: state.to("cpu", copy=True) for name, state in self._states().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state_dict`` gave.

        Raises:
            ValueError: it is of another dataset, other classes, or without the probabilities that are to be kept.
        """
        own = self._states()
        wanted, came = ({name: tuple(value.shape) for name, value in each.items()} for each in (own, state))
        if wanted != came:
            raise ValueError(
                f"`state` has the shapes {came}, wanted {wanted}. Go on with the dataset, the classes and the "
                "`keep_probabilities` that it was saved with, or start anew."
            )
        for name, value in own.items():
            value.copy_(state[name])

    def _states(self) -> dict[str, Tensor]:
        return {**self._kept, "events": self._events}

    def result(self, class_names: Sequence[str]) -> SampleHistory:
        """The histories of the samples that were seen, on the CPU."""
        epoch, *events = self._events.tolist()
        index = (self._kept["seen"].cpu() > 0).nonzero()[:, 0]
        columns = {name: self._kept[name].cpu()[index] for name in KEPT}
        whole: dict[str, Any] = {name: column.long() for name, column in columns.items() if name != "loss"}
        mean = self.probabilities()
        return SampleHistory(
            index=index,
            loss=columns["loss"],
            errors=None if mean is None else label_errors(mean[index], whole["label"]),
            class_names=tuple(class_names),
            events=Events(epoch - 1, *events) if epoch else None,
            **whole,
        )
