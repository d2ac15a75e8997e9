"""Scores of a validation, kept for what is chosen behind a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification import EvalBatch, EvaluationOptions, StreamCallback, Task
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import sum_over_ranks
from lightning_posttrain.ensembles import KeptScores, RowScores, read_members

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from lightning_posttrain.ensembles import MemberState


class ValidationScores(NamedTuple):
    """Scores and what came true, for ``tune_knobs``.

    Args:
        scores: logits ``(N, C)`` float32 in the order of the loader, of ``K`` members ``(N, K, C)``; of labels
            log-odds; of a binary task of both classes.
        target: class ``(N,)`` int64; of labels 0 or 1 ``(N, L)``, -1 where one is not to be counted.
        task: what they mean.
    """

    scores: Tensor
    target: Tensor
    task: Task


def validation_scores(
    trainer: Trainer,
    module: LightningModule,
    data: Any = None,
    *,
    members: Sequence[str | Path] | None = None,
    **options: Unpack[EvaluationOptions],
) -> ValidationScores:
    """Scores of the validation rows, from ``trainer.validate``, which is run once for each member.

    Scores, targets and the task are found as every callback of this package finds them. Kept are all rows up to 16 MiB
    of scores, the same for every model; of several loaders those of the first. The module has its own weights again
    when this returns. Other callbacks of the Trainer run as in any validation: give a plain one, as
    ``Trainer(logger=False)``, where they need not.

    Args:
        trainer: as for ``trainer.validate``.
        module: trained.
        data: a loader, several, or a datamodule; None where the module has its own.
        members: checkpoints of the module's architecture, whose scores ``(N, K, C)`` come together, as
            ``sorted(model_checkpoint.best_k_models)``; None for the module as it is.
        **options: as of every callback, see ``StreamCallback``: ``task``, ``scores_fn``, ….

    Raises:
        ValueError: no row was read, a file is no checkpoint of the module, or a loader that shuffles gave each member
            other rows.

    Example:
        >>> from lightning.pytorch import LightningModule, Trainer
        >>> class Net(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(4, 3)
        ...     def validation_step(self, batch, batch_idx):
        ...         self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))
        >>> rows = torch.utils.data.TensorDataset(torch.randn(12, 4), torch.arange(12) % 3)
        >>> trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
        >>> found = validation_scores(trainer, Net(), torch.utils.data.DataLoader(rows, batch_size=6))
        >>> found.scores.shape, found.target.tolist(), found.task
        (torch.Size([12, 3]), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2], 'multiclass')
    """
    if members is None:
        kept, task = _validated(trainer, module, data, options)
        return ValidationScores(kept.scores[:, 0], kept.target, task)
    found = list(_of_each(trainer, module, data, [read_members(path, module)[0] for path in members], options))
    if not found:
        raise ValueError("`members` is empty, wanted a checkpoint at least. Leave it out for the module as it is.")
    tables, tasks = zip(*found, strict=True)
    if not all(table.same_rows(tables[0]) for table in tables):
        raise ValueError("`data` gave each member other rows. Give a validation loader without shuffle=True.")
    return ValidationScores(torch.cat([table.scores for table in tables], 1), tables[0].target, tasks[0])


def _of_each(
    trainer: Trainer, module: LightningModule, data: Any, members: Sequence[MemberState], options: EvaluationOptions
) -> Iterator[tuple[KeptScores, Task]]:
    own = {name: value.clone() for name, value in module.state_dict().items()}
    try:
        for member in members:
            module.load_state_dict(member.tensors, strict=False)
            yield _validated(trainer, module, data, options)
    finally:
        module.load_state_dict(own)


def _validated(
    trainer: Trainer, module: LightningModule, data: Any, options: EvaluationOptions
) -> tuple[KeptScores, Task]:
    whole: EvaluationOptions = {**options, "stages": ("val",), "on_error": "raise"}
    keeper = _Keeper(**whole)
    trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    try:
        trainer.validate(module, data, verbose=False)
    finally:
        trainer.callbacks.remove(keeper)  # type: ignore[attr-defined]
    if keeper.kept is None:
        raise ValueError("no row of scores was read, wanted a validation loader with some and a `validation_step`.")
    return keeper.kept, keeper.task


@final
class _Keeper(StreamCallback):
    """Keeps the scores of the first loader."""

    tag = "validation_scores"
    several_targets = False

    def __init__(self, **options: Unpack[EvaluationOptions]) -> None:
        super().__init__(**options)
        self.kept: KeptScores | None = None
        self.task: Task = "multiclass"
        self._rows: RowScores | None = None
        self._place = {"world": 1, "rank": 0}

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Note which rank this is."""
        self._place = {"world": trainer.world_size, "rank": trainer.global_rank}

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep the scores of a batch."""
        if key == "val":
            self._rows = self._rows or self._table(batch.num_classes, batch.scores.device)
            self._rows.update(batch)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> None:
        """Join what all ranks have kept."""
        if evaluation.key == "val":
            self.task = self.reading.task
            rows = self._rows or self._table(len(names), module.device)
            sum_over_ranks(module.trainer, [rows])
            self.kept = rows.kept()

    def show(self, result: Any, title: str) -> Iterable[Tagged]:
        """Nothing."""
        return ()

    def _table(self, columns: int, device: torch.device) -> RowScores:
        with torch.inference_mode(False):
            return RowScores(1, columns, labels=self.reading.task == "multilabel", **self._place).to(device)
