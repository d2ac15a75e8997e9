"""What passes between the evaluation stream and a callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.metrics import EvaluationMetric
from lightning_posttrain.reading import Reading
from lightning_posttrain.results import Result

Needs = tuple[type[EvaluationMetric], ...]


class Member(Protocol):
    """What the stream asks of a callback."""

    @property
    def reading(self) -> Reading:
        """How it reads a batch."""

    @property
    def slot(self) -> tuple[str, str | None]:
        """What its tags begin with; two callbacks with the same one would write over each other."""

    def takes(self, trainer: Trainer) -> bool:
        """Whether it wants the batches of the trainer's present stage."""

    def metrics(self) -> Needs:
        """The metrics it needs."""

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise where its arguments do not go with the first batch."""

    def observe(self, key: str, batch: EvalBatch) -> None:
        """See a batch of the loader named ``key``, as ``"val"`` or ``"val/dataloader_1"``."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One loader's finished epoch, as a callback gets it.

    Args:
        stage: ``"train"``, ``"val"`` or ``"test"``.
        suffix: what follows a quantity in a tag, as ``""`` or ``"/dataloader_1"``.
        num_classes: ``C``.
        class_names: names that the dataset itself carries, or None.
        results: by metric class.
        independent: whether each row is a sample of its own, as pixels of an image are not.
        scorer: from inputs to logits ``(N, C)``, through the module as it is.
    """

    stage: str
    suffix: str
    num_classes: int
    class_names: tuple[str, ...] | None
    results: Mapping[type[EvaluationMetric], Result]
    independent: bool
    scorer: Callable[[Any], Tensor]

    @property
    def key(self) -> str:
        """Stage, and loader where it is not the first, as ``"val"`` or ``"test/dataloader_1"``."""
        return self.stage + self.suffix

    def result(self, kind: type[EvaluationMetric]) -> Any:
        """The result of a metric that was asked for."""
        return self.results[kind]
