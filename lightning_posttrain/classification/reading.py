"""How the class scores, targets and inputs of a batch are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.checks import check_batch
from lightning_posttrain.classification.hardness import captions
from lightning_posttrain.classification.loader_part import ClassPart
from lightning_posttrain.classification.score_finder import ScoreFinder
from lightning_posttrain.classification.tasks import (
    ScoreKind,
    Task,
    count_classes,
    fits,
    predictions,
    to_logits,
    to_rows,
    to_target,
)
from lightning_posttrain.core.capture.loaders import Rows, dataset_classes
from lightning_posttrain.core.capture.target_and_inputs import find_inputs, find_target
from lightning_posttrain.core.stream.reading import Caption, Given, Kinds


@dataclass(frozen=True)
class ClassReading:
    """How class scores, targets and inputs are read from a batch; equal readings are done once."""

    alike: ClassVar[tuple[str, ...]] = ("num_classes",)
    task: Task = "multiclass"
    scores: ScoreKind = "logits"
    num_classes: int | None = None
    scores_fn: Callable[[Any, Any], Any] | None = None
    target_fn: Callable[[Any], Any] | None = None
    inputs_fn: Callable[[Any], Any] | None = None
    ignore_index: int | None = None

    def fits(self, tensor: Tensor, target: torch.Size) -> bool:
        """Whether ``tensor`` can be the class scores for targets of a shape."""
        if not fits(tensor, target, self.task):
            return False
        return self.num_classes is None or count_classes(tensor, self.task) == self.num_classes

    def predicted(self, scores: Tensor) -> Tensor:
        """Predicted classes ``(N, ...)``, for multilabel whether each label is there."""
        return predictions(self.as_read(scores), self.task)

    # what the stream asks

    def given(self, batch: Any) -> Given:
        """Targets as class indices, and inputs."""
        target = find_target(batch, self.target_fn)
        return Given(target, to_target(target, self.task), find_inputs(batch, self.inputs_fn))

    def finder(self) -> ScoreFinder:
        """One for each stage."""
        return ScoreFinder(self)

    def batch(self, found: Tensor, given: Given, rows: Rows) -> EvalBatch:
        """Logits and class indices; positions of a segmentation are rows of their own."""
        logits = to_logits(found, self.task, self.scores, given.indices.shape)
        flat, target = to_rows(logits, given.indices.to(found.device), self.task)
        valid = rows.valid
        if valid is not None:
            each = len(flat) // len(valid)
            valid = valid.repeat_interleave(each) if each > 1 else valid
            valid = valid[:, None].expand(target.shape) if target.ndim == 2 else valid
        if self.ignore_index is not None:
            kept = target != self.ignore_index
            valid = kept if valid is None else valid & kept
        index = rows.index if len(flat) == len(found) else None
        return EvalBatch(flat, target, valid, index, given.inputs, None if len(flat) == len(found) else len(found))

    def check(self, batch: EvalBatch, found: Tensor, given: Given) -> None:
        """Raise where the values of the first batch contradict what was said of them."""
        check_batch(batch, found, given.target, self)

    def likeness(self, batch: EvalBatch) -> tuple[int, ...]:
        """The number of classes."""
        return (batch.num_classes,)

    def unlike(self, key: str, before: tuple[int, ...], now: tuple[int, ...]) -> str:
        """That the number of classes differs."""
        return (
            f"the scores of {key} have {before[0]} classes in one batch and {now[0]} "
            "in another; a figure over both has no meaning. Pass scores_fn=... that gives one number."
        )

    def part(self, likeness: tuple[int, ...], kinds: Kinds, device: torch.device) -> ClassPart:
        """Accumulators of one loader."""
        (num_classes,) = likeness
        return ClassPart(num_classes, kinds, device, labels=self.task == "multilabel")

    def names(self, likeness: tuple[int, ...], loader: Any) -> tuple[str, ...]:
        """The dataset's own names of the classes, else their indices."""
        return dataset_classes(loader, *likeness) or tuple(map(str, range(*likeness)))

    def model(
        self, module: nn.Module, finder: ScoreFinder | None, likeness: tuple[int, ...]
    ) -> Callable[[Any], Tensor]:
        """A function from inputs to logits, through the part of the module that the step itself gives them to."""
        (num_classes,) = likeness
        entry = module.get_submodule(finder.entry if finder else "")
        picker = ScoreFinder(replace(self, num_classes=num_classes))

        def scores(inputs: Any) -> Tensor:
            shape = torch.Size([len(inputs), num_classes] if self.task == "multilabel" else [len(inputs)])
            return self.as_read(picker.pick(entry(inputs), shape))

        return scores

    def as_read(self, output: Any) -> Tensor:
        """Scores as logits."""
        return to_logits(output, self.task, self.scores)

    def captions(self, columns: Mapping[str, Tensor], names: Sequence[str]) -> list[Caption]:
        """Actual and predicted classes, or labels."""
        return captions(columns, names, labels=self.task == "multilabel")
