"""Keeps what a classifier said of the rows of an epoch, of some in full and of all whether it was right."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, final

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.result.predictions import BEST, MOST, Predictions
from lightning_posttrain.core.output.deferred import DeferredResult

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

LARGEST = 10_000_000
"""Samples of a dataset of which it is kept whether each was right, 4 bytes each."""
STAGE = 1 << 17
"""Scores that are gathered before they are looked at."""
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
        self._staged: list[EvalBatch] = []
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
            self._parts, self._staged, self._codes = [], [], None
            return
        if 2 * batch.scores.numel() > STAGE:
            self._drain()
            self._take(batch)
            return
        first = self._staged[0] if self._staged else batch
        alike = first.scores.dtype == batch.scores.dtype and (first.index is None) == (batch.index is None)
        if not alike or sum(one.scores.numel() for one in self._staged) + batch.scores.numel() > STAGE:
            self._drain()
        # copies, as a buffer may come in that is used again
        self._staged.append(EvalBatch(batch.scores.clone(), batch.marked.clone(), index=batch.index))

    def _drain(self) -> None:
        staged, self._staged = self._staged, []
        if not staged:
            return
        index = None if staged[0].index is None else torch.cat([one.index for one in staged if one.index is not None])
        scores, target = torch.cat([one.scores for one in staged]), torch.cat([one.target for one in staged])
        self._take(EvalBatch(scores, target, index=index))

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
            self._drain()
        mine = {name: part.cpu() for name, part in self._joined().items()} if self._parts else {}
        told: list[Any] = [(mine, self._seen, self._reason, self._positions, self._codes is not None)]
        if trainer.world_size > 1:
            told = told * trainer.world_size
            dist.all_gather_object(told, told[trainer.global_rank])
        codes = self._of_all(trainer) if any(one[4] for one in told) and all(one[3] for one in told) else None
        return DeferredResult(lambda: _predictions(names, told, codes))

    def _of_all(self, trainer: Trainer) -> Tensor | None:
        if self._size is None:
            return None
        codes = self._codes
        if codes is None:
            codes = torch.full((self._size + 1,), UNSEEN, dtype=torch.int32, device=trainer.strategy.root_device)
        codes = trainer.strategy.reduce(codes, reduce_op="max") if trainer.world_size > 1 else codes
        found: Tensor = codes[:-1].cpu()
        return found


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


def _evenly(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The rows that count, in their order, ``MOST`` at most."""
    if not parts:
        return {}
    table = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    table = {name: column[table["taken"]] for name, column in table.items()}
    known = bool((table["index"] >= 0).all())
    order = table["index" if known else "order"].argsort(stable=True)
    if len(order) > MOST:
        order = order[torch.linspace(0, len(order) - 1, MOST, dtype=torch.float64).round().long()]
    chosen = {name: column[order] for name, column in table.items() if name not in ("order", "taken")}
    scores = chosen.pop("scores", None)
    return chosen if scores is None else {**chosen, **_said(scores, chosen["actual"], chosen["predicted"])}


def _rows(told: list[Any], codes: Tensor | None, table: dict[str, Tensor]) -> int:
    """How many rows there were; those that enter no figure are known only where all are."""
    if codes is not None:
        return int((codes >= 0).sum())
    seen = sum(one[1] for one in told)
    return len(table["index"]) if table and seen <= MOST else seen


def _predictions(names: tuple[str, ...], told: list[Any], codes: Tensor | None) -> Predictions:
    reason = next((one[2] for one in told if one[2]), "")
    table = {} if reason else _evenly([one[0] for one in told if one[0]])
    rows = _rows(told, codes, table)
    if codes is None:
        return Predictions(names, rows, table=table, reason=reason)
    targets = torch.where(codes >= 0, codes >> 1, UNSEEN).numpy().astype("<i4")
    seen, right = codes >= 0, (codes >= 0) & (codes % 2 == 1)
    return Predictions(names, rows, seen, right, zlib.crc32(targets.tobytes()), table, reason)
