"""A member's scores of given rows, through its own validation or test step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from lightning_posttrain.classification import EvalBatch, EvaluationOptions, StreamCallback
from lightning_posttrain.core.capture.loaders import RowCounter, named_loaders
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

FILES = "scores.rank*.pt"


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Log-probabilities and targets of rows in order.

    Args:
        logp: ``(R, C)`` float64; for multilabel ``(R, L, 2)``. NaN where a row was not scored.
        target: ``(R,)`` or ``(R, L)`` int64; -1 for what enters no figure.
    """

    logp: Tensor
    target: Tensor

    @property
    def multilabel(self) -> bool:
        """Whether each row has any number of labels."""
        return self.target.ndim == 2

    @classmethod
    def gathered(cls, parts: Iterable[Mapping[str, Tensor]], rows: int) -> ScoredRows:
        """From what each rank has read.

        Raises:
            ValueError: a row was read by none.
        """
        each = [part for part in parts if len(part["index"])]
        index, logp, target = (torch.cat([part[name] for part in each]) for name in ("index", "logp", "target"))
        own = index < rows  # beyond are repeats, by which ranks have as many
        index, logp, target = index[own], logp[own], target[own]
        whole = cls(logp.new_full((rows, *logp.shape[1:]), torch.nan), target.new_full((rows, *target.shape[1:]), -1))
        whole.logp[index], whole.target[index] = logp, target
        missing = rows - len(torch.unique(index))
        if missing:
            raise ValueError(f"{missing} of {rows} rows were not scored; the step, or the loader, leaves some out.")
        return whole


@final
class ScoreCollector(StreamCallback):
    """Writes the scores of the rows that a rank has read to a file of its own."""

    tag: ClassVar[str] = "row_scores"
    several_targets: ClassVar[bool] = False

    def __init__(self, folder: Path, **options: Unpack[EvaluationOptions]) -> None:
        whole: EvaluationOptions = {**options, "stages": ("val", "test"), "on_error": "raise"}
        super().__init__(**whole)
        self.folder = folder
        self._parts: dict[str, list[Tensor]] = {"index": [], "logp": [], "target": []}

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin to count rows."""
        self._counter = RowCounter(named_loaders(trainer)[0].loader)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep a batch's scores.

        Raises:
            ValueError: it is not known which rows they are of.
        """
        if batch.samples is not None:
            raise ValueError("each sample has several rows, as pixels or words, which no figures are made of here.")
        index = self._counter.take(batch.size, torch.device("cpu")).index
        if index is None:
            raise ValueError("a batch has not as many rows as were drawn for it, so that these are not known.")
        logp = log_probabilities(batch.scores, multilabel=batch.multilabel)
        target = batch.target.masked_fill(~batch.counted, -1)
        for name, column in (("index", index), ("logp", logp), ("target", target)):
            self._parts[name].append(column.detach().cpu())

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> None:
        """Nothing: it is for what reads the file."""

    def show(self, result: Any, title: str) -> Iterable[Tagged]:
        """Nothing."""
        return ()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write what was read."""
        read = {name: torch.cat(columns) for name, columns in self._parts.items() if columns}
        torch.save(read or {"index": torch.empty(0)}, self.folder / f"scores.rank{trainer.global_rank}.pt")
        super().teardown(trainer, pl_module, stage)


def log_probabilities(scores: Tensor, *, multilabel: bool) -> Tensor:
    """``(N, C)`` float64 of logits ``(N, C)``; ``(N, L, 2)`` of log-odds ``(N, L)``."""
    wide = scores.double() if scores.device.type != "mps" else scores.cpu().double()
    return torch.stack([F.logsigmoid(-wide), F.logsigmoid(wide)], -1) if multilabel else wide.log_softmax(1)


def clear_scores(folder: Path) -> None:
    """Remove what ranks have written, as of a pass that failed."""
    for file in folder.glob(FILES):
        file.unlink()


def read_scores(folder: Path, rows: int) -> ScoredRows:
    """What the ranks have written, whose files are removed.

    Raises:
        ValueError: nothing was read, or not all.
    """
    parts = [torch.load(file, weights_only=True) for file in sorted(folder.glob(FILES))]
    clear_scores(folder)
    if not any(len(part["index"]) for part in parts):
        raise ValueError("no class scores were found in the step.")
    return ScoredRows.gathered(parts, rows)
