"""Keeps what a classifier said of the rows of an epoch, of some in full and of all whether it was right."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, final

import torch
from torch import Tensor

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.result.predictions import BEST, MOST, Predictions
from lightning_posttrain.core.output.deferred import DeferredResult
from lightning_posttrain.core.stream.gathered import Gathered
from lightning_posttrain.core.stream.ranks import largest, put_together, told_by_all

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

LARGEST = 10_000_000
"""Samples of a dataset of which it is kept whether each was right, 4 bytes each."""
LABELS = 1000
"""Labels of a row beyond which nothing of it is kept."""
SCORES = 1 << 24
"""Bytes of scores of the rows that are kept at most; of more what they say is worked out in the epoch, and kept."""
UNSEEN = -1
SPREAD, WIDTH = 2654435761, 1 << 30


@final
class KeptPredictions:
    """Rows of one loader and epoch. Nothing in ``offer`` waits for the device; small batches are gathered first.

    Which rows are kept is told by their place in the epoch: all, or every second, third and so on, evenly.

    Args:
        size: samples of the dataset, or None where that is not known.
        rows: that are expected, or None.
        rank: of this process.
        world: over how many ranks the loader is shared.
    """

    def __init__(self, size: int | None, rows: int | None = None, *, rank: int = 0, world: int = 1) -> None:
        self._size, self._rank, self._world = size, rank, world
        self._stride = max(-(-(rows or 0) // MOST), 1)
        self._gathered = Gathered()
        self._seen, self._held = 0, 0
        self._parts: list[dict[str, Tensor]] = []
        self._codes: Tensor | None = None
        self._positions = True
        self._reason = ""

    @torch.no_grad()
    def offer(self, batch: EvalBatch) -> None:
        """Look at a batch."""
        self._reason = self._reason or _why_not(batch)
        if self._reason:
            self._parts, self._gathered, self._codes = [], Gathered(), None
            return
        for due, _ in self._gathered.add(batch):
            self._take(due)

    def _take(self, batch: EvalBatch) -> None:
        rows, start = len(batch.target), self._seen
        self._seen += rows
        first = -start % self._stride
        if first < rows:
            self._parts.append(self._columns(batch, start, slice(first, None, self._stride)))
            self._held += len(self._parts[-1]["order"])
        if self._held > 2 * MOST:
            joined = self._joined()
            self._parts, self._stride = [{name: part[::2].clone() for name, part in joined.items()}], 2 * self._stride
            self._held = len(self._parts[0]["order"])
        self._note(batch)

    def _columns(self, batch: EvalBatch, start: int, chosen: slice) -> dict[str, Tensor]:
        target, predicted, scores = batch.target[chosen], batch.predicted[chosen], batch.scores[chosen]
        counted, device = batch.counted[chosen], scores.device
        order = torch.arange(start, start + len(batch.target), device=device)[chosen] * self._world + self._rank
        index = torch.full_like(order, UNSEEN) if batch.index is None else batch.index[chosen]
        columns = {
            "order": order,
            "index": index,
            "taken": counted.any(1) if batch.multilabel else counted,
            "actual": torch.where(counted, target, UNSEEN),
            "predicted": predicted,
        }
        if self._world == 1 and 2 * MOST * scores.shape[1] * scores.element_size() <= SCORES:
            return {**columns, "scores": scores.clone()}
        return {**columns, **_said(scores, columns["actual"], predicted)}

    def _note(self, batch: EvalBatch) -> None:
        """Whether each row was right, and a number of what it is, at its position."""
        self._positions = self._positions and batch.index is not None
        if batch.index is None or self._size is None or self._size > LARGEST or not self._positions:
            return
        if self._codes is None:  # the last place takes what does not count: to choose rows would make the host wait
            with torch.inference_mode(False):  # what is made in inference mode could not be changed outside it
                self._codes = torch.full((self._size + 1,), UNSEEN, dtype=torch.int32, device=batch.target.device)
        target, right, counted = batch.target, batch.predicted == batch.target, batch.counted
        if batch.multilabel:
            weights = torch.arange(1, target.shape[1] + 1, device=target.device) * SPREAD % WIDTH
            target = (torch.where(counted, target + 1, 0) * weights).sum(1) % WIDTH
            right, counted = (right | ~counted).all(1), counted.any(1)
        place = torch.where(counted, batch.index, self._size)
        self._codes[place] = (2 * target + right).to(torch.int32)

    def _joined(self) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}

    def report(self, names: tuple[str, ...], trainer: Trainer) -> DeferredResult[Predictions]:
        """What all ranks kept; every rank calls it, and has the same."""
        with torch.no_grad():
            for due, _ in self._gathered.flush():
                self._take(due)
        mine = {name: part.cpu() for name, part in self._joined().items()} if self._parts else {}
        told = told_by_all(trainer, _About.of(mine, self))
        reason = next((one.reason for one in told if one.reason), "")
        codes = self._of_all(trainer) if any(one.codes for one in told) and all(one.positions for one in told) else None
        rows, seen = {} if reason else _of_ranks(trainer, mine, told), sum(one.seen for one in told)
        return DeferredResult(lambda: _predictions(names, rows, seen, codes, reason))

    def _of_all(self, trainer: Trainer) -> Tensor | None:
        if self._size is None:
            return None
        codes = self._codes
        if codes is None:
            codes = torch.full((self._size + 1,), UNSEEN, dtype=torch.int32, device=trainer.strategy.root_device)
        return largest(trainer, codes)[:-1].cpu()


class _About(NamedTuple):
    """What a rank tells of what it kept."""

    kept: int
    seen: int
    reason: str
    positions: bool
    codes: bool
    kinds: dict[str, tuple[tuple[int, ...], torch.dtype]]

    @classmethod
    def of(cls, mine: dict[str, Tensor], whole: KeptPredictions) -> _About:
        kept = len(mine["order"]) if mine else 0
        kinds = {name: (tuple(column.shape[1:]), column.dtype) for name, column in mine.items()}
        return cls(kept, whole._seen, whole._reason, whole._positions, whole._codes is not None, kinds)


def _why_not(batch: EvalBatch) -> str:
    if batch.samples is not None:
        return "each sample has several positions, of which no single prediction is kept"
    if batch.multilabel and batch.num_classes > LABELS:
        return f"each row has {batch.num_classes:,} labels, and predictions are kept of {LABELS:,} at most"
    return ""


def _said(scores: Tensor, actual: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """What scores say of each row: of its prediction, of its own class, and the most probable classes."""
    best, top = scores.topk(min(BEST, scores.shape[1]), dim=1)
    if actual.ndim == 2:
        said, loss = _of_labels(scores, actual, predicted, actual != UNSEEN)
        return {"probability": said, "loss": loss, "top": top, "p": best.sigmoid()}
    whole = scores.logsumexp(1)
    loss = whole - scores.gather(1, actual.clamp(0, scores.shape[1] - 1)[:, None])[:, 0]
    said = (scores.gather(1, predicted[:, None])[:, 0] - whole).exp()
    return {"probability": said, "loss": loss, "top": top, "p": (best - whole[:, None]).exp()}


def _of_labels(scores: Tensor, target: Tensor, predicted: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows with labels the probability of what was said of the least sure one, and the mean loss."""
    sure = torch.where(predicted == 1, scores, -scores).sigmoid()
    loss = torch.nn.functional.softplus(torch.where(target == 1, -scores, scores))
    mean = torch.where(counted, loss, 0.0).sum(1) / counted.sum(1).clamp(min=1)
    return torch.where(counted, sure, torch.inf).amin(1), mean


def _of_ranks(trainer: Trainer, mine: dict[str, Tensor], told: Sequence[_About]) -> dict[str, Tensor]:
    """The rows of all ranks, one rank's after the other's; of far too many every second, third and so on of each."""
    if trainer.world_size == 1:
        return mine
    step = max(sum(one.kept for one in told) // MOST, 1)
    counts = [-(-one.kept // step) for one in told]
    kinds = next((one.kinds for one in told if one.kinds), {})
    first, last = (sum(counts[: trainer.global_rank + k]) for k in (0, 1))
    sent = []
    for name, (shape, dtype) in kinds.items():
        sent.append(torch.zeros(sum(counts), *shape, dtype=dtype))
        if first < last:
            sent[-1][first:last] = mine[name][::step].to(dtype)
    return dict(zip(kinds, put_together(trainer, sent), strict=True))


def _evenly(table: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows that count, in their order, ``MOST`` at most."""
    if not table:
        return {}
    table = {name: column[table["taken"]] for name, column in table.items()}
    known = bool((table["index"] >= 0).all())
    order = table["index" if known else "order"].argsort(stable=True)
    if len(order) > MOST:
        order = order[torch.linspace(0, len(order) - 1, MOST, dtype=torch.float64).round().long()]
    chosen = {name: column[order] for name, column in table.items() if name not in ("order", "taken")}
    scores = chosen.pop("scores", None)
    return chosen if scores is None else {**chosen, **_said(scores, chosen["actual"], chosen["predicted"])}


def _rows(seen: int, codes: Tensor | None, table: dict[str, Tensor]) -> int:
    """How many rows there were; those that enter no figure are known only where all are."""
    if codes is not None:
        return int((codes >= 0).sum())
    return len(table["index"]) if table and seen <= MOST else seen


def _predictions(
    names: tuple[str, ...], rows: dict[str, Tensor], seen: int, codes: Tensor | None, reason: str
) -> Predictions:
    table = _evenly(rows)
    count = _rows(seen, codes, table)
    if codes is None:
        return Predictions(names, count, table=table, reason=reason)
    targets = torch.where(codes >= 0, codes >> 1, UNSEEN).numpy().astype("<i4")
    known, right = codes >= 0, (codes >= 0) & (codes % 2 == 1)
    return Predictions(names, count, known, right, zlib.crc32(targets.tobytes()), table, reason)
