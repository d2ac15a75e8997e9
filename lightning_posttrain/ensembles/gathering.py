"""Validation scores of checkpoints at no extra pass: those of the epoch in which the same weights were judged.

Scores are kept beside a mark of the weights that gave them, read from the module at the first batch, when a weight
averaging has put its own in place. At the end of the fit each file finds its scores by its own mark, whichever hook
saved it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from lightning_posttrain.classification import EvalBatch, Task
from lightning_posttrain.core.stream.ranks import sum_over_ranks
from lightning_posttrain.ensembles.functional.rows import log_probabilities, own_log_probability
from lightning_posttrain.ensembles.functional.strategies import fit_strategies
from lightning_posttrain.ensembles.kept_scores import KeptScores, RowScores
from lightning_posttrain.ensembles.members.files import checkpoints_of
from lightning_posttrain.ensembles.members.weights import Mark, mark

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

NO_VALIDATION = (
    "CheckpointEnsemble: there was no validation in this fit, so that nothing is fitted to the checkpoints. Pass "
    "val_dataloaders, or run validate afterwards; without a fit test reports plain means."
)
MOST = 24
"""Validations whose scores are kept, beside those of the last two; at most 16 MiB each."""
LATEST = 2


@dataclass(frozen=True, eq=False)
class Judgement:
    """One validation.

    Args:
        mark: of the weights.
        step: of training.
        kept: scores of the one member ``(N, 1, C)``.
        loss: their log loss.
    """

    mark: Mark
    step: int
    kept: KeptScores
    loss: float


class Gathering:
    """Keeps the scores of the validations of a fit, on the first rank."""

    def __init__(self) -> None:
        self._judged: list[Judgement] = []
        self.abandon()

    def abandon(self) -> None:
        """Forget a validation that has not ended."""
        self._open: RowScores | None = None
        self._mark: Mark | None = None

    def note(self, module: LightningModule) -> None:
        """Note which weights are judged, at the first batch."""
        self._mark = mark(module) if self._mark is None else self._mark

    def add(self, trainer: Trainer, batch: EvalBatch) -> None:
        """Keep the scores of a batch."""
        if self._open is None:
            self._open = rows_of(trainer, 1, batch.num_classes, labels=batch.multilabel)
        self._open.update(batch)

    def end(self, trainer: Trainer, columns: int, *, task: Task, saved: Callable[[], Collection[int]]) -> None:
        """Keep a validation that has ended; all ranks together.

        Args:
            trainer: of the run.
            columns: classes or labels.
            task: of the scores.
            saved: steps of which there are checkpoints; asked for where room is scarce.
        """
        rows = self._open or rows_of(trainer, 1, columns, labels=task == "multilabel")
        sum_over_ranks(trainer, [rows])
        if trainer.is_global_zero and self._mark is not None:
            self._keep(rows.kept(), self._mark, trainer.global_step, task)
            self._make_room(saved)
        self.abandon()

    def _keep(self, kept: KeptScores, of: Mark, step: int, task: Task) -> None:
        if len(kept.target):
            # of a loader that shuffles, rows of two epochs are not the same
            self._judged = [each for each in self._judged if each.mark != of and each.kept.same_rows(kept)]
            self._judged.append(Judgement(of, step, kept, mean_loss(kept, task)))

    def of(self, wanted: Mark) -> KeptScores | None:
        """The scores of weights with a mark, where these were judged."""
        return next((each.kept for each in self._judged if each.mark == wanted), None)

    def losses(self) -> dict[Mark, float]:
        """Log loss of each of the weights that were judged."""
        return {each.mark: each.loss for each in self._judged}

    def _make_room(self, saved: Callable[[], Collection[int]]) -> None:
        """Drop the worst of the validations, first those of which there is no checkpoint."""
        while len(self._judged) > MOST + LATEST:
            steps = saved()
            older = self._judged[:-LATEST]
            least = max(older, key=lambda each: (each.step not in steps, each.loss))
            self._judged.remove(least)


def rows_of(trainer: Trainer, members: int, columns: int, *, labels: bool) -> RowScores:
    """An empty table of scores, of the trainer's ranks."""
    place = {"world": trainer.world_size, "rank": trainer.global_rank}
    with torch.inference_mode(False):
        return RowScores(members, columns, labels=labels, **place).to(trainer.strategy.root_device)


def mean_loss(kept: KeptScores, task: Task) -> float:
    """Log loss of the one member."""
    logp, target = log_probabilities(kept.scores, kept.target, task)
    return -float(own_log_probability(logp[:, 0], target).mean())


def tempered_losses(kept: KeptScores, task: Task) -> list[float]:
    """Log loss of each member, with a temperature that is fitted to it."""
    logp, target = log_probabilities(kept.scores, kept.target, task)
    found = []
    for member in torch.split(logp, 1, 1):
        how = fit_strategies(["best_temperature"], member, target)["best_temperature"]
        found.append(-float(own_log_probability(how(member), target).mean()))
    return found


def saved_steps(trainer: Trainer) -> set[int]:
    """Steps of training of which there are checkpoints."""
    return {_step(str(path), path.stat().st_mtime_ns) for path in checkpoints_of(trainer)}


@lru_cache(1024)
def _step(path: str, _changed: int) -> int:
    """Of a checkpoint, whose tensors are not read for it; -1 where it does not say."""
    try:
        return int(torch.load(path, weights_only=True, mmap=True, map_location="meta")["global_step"])
    except Exception:  # of another program, or being written
        return -1
