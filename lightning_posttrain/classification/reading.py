"""How the class scores, targets and inputs of a batch are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.checks import check_batch
from lightning_posttrain.classification.hardness import captions
from lightning_posttrain.classification.heard.choice import as_said, contradiction, meant
from lightning_posttrain.classification.heard.finder import PairFinder
from lightning_posttrain.classification.heard.scores import HeardScores
from lightning_posttrain.classification.loader_part import ClassPart
from lightning_posttrain.classification.score_finder import ScoreFinder
from lightning_posttrain.classification.self_check import contradictions, of_batch
from lightning_posttrain.classification.tasks import (
    NO_CLASS,
    ScoreKind,
    Task,
    count_classes,
    fits,
    is_single,
    predictions,
    to_logits,
    to_rows,
    to_target,
)
from lightning_posttrain.core.capture.loaders import Rows, dataset_classes
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.target_and_inputs import find_inputs, find_target
from lightning_posttrain.core.stream.reading import Again, Against, Caption, Given, Kinds

UNLIKE_GUESSED = (
    'The scores or the targets were found by their shape, and are probably others: return {"logits": logits} from the '
    "step, or pass scores_fn=lambda outputs, batch: ... or target_fn=lambda batch: ... . If the module's figure is no "
    "plain accuracy of these rows, log it under a name that says so, as val_top5 or val_masked_acc."
)
UNLIKE_HEARD = (
    "The scores and targets are those that the step's own loss or metric took; the module's figure is of other rows, "
    "as under a mask, or by another definition."
)


@dataclass(frozen=True)
class ClassReading:
    """How class scores, targets and inputs are read from a batch; equal readings are done once.

    ``open`` has the names of what the user left open: it holds what is usual until a step has told it.
    """

    alike: ClassVar[tuple[str, ...]] = ("num_classes", "ignore_index")
    task: Task = "multiclass"
    scores: ScoreKind = "logits"
    num_classes: int | None = None
    scores_fn: Callable[[Any, Any], Any] | None = None
    target_fn: Callable[[Any], Any] | None = None
    inputs_fn: Callable[[Any], Any] | None = None
    ignore_index: int | None = None
    target: str | None = None
    scores_from: str | None = None
    open: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, *, task: Task | None, scores: ScoreKind | None, ignore_index: int | None, **others: Any
    ) -> ClassReading:
        """The reading of what a user said; what is None is open, and told by the step."""
        said: dict[str, Any] = {"task": task, "scores": scores, "ignore_index": ignore_index}
        given = {name: value for name, value in said.items() if value is not None}
        return cls(**others, **given, open=frozenset(set(said) - set(given)))

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
        inputs = find_inputs(batch, self.inputs_fn)
        try:
            found = find_target(batch, self.target_fn, self.target)
        except ValueError as problem:
            if self.target_fn is not None:
                raise
            return Given(None, None, inputs, problem)
        return self.given_again(Given(found, None, inputs))

    def given_again(self, given: Given) -> Given:
        """The same targets under this task."""
        if given.target is None:
            return given
        try:
            return replace(given, indices=to_target(given.target, self.task), problem=None)
        except ValueError as problem:
            return replace(given, indices=None, problem=problem)

    @property
    def told(self) -> dict[str, Any]:
        """Task, kind of scores and target."""
        return {"task": self.task, "scores": self.scores, "target": self.target}

    def retold(self, told: Mapping[str, Any]) -> ClassReading:
        """Itself, with these."""
        return replace(self, **told)

    def differs(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
        """That targets or tasks are others."""
        tasks = [{name: reading.task for name, reading in told.items()} for told in (before, now)]
        if tasks[0] == tasks[1]:
            return ""
        first, second = (", ".join(filter(None, (f"{n} {t}".strip() for n, t in each.items()))) for each in tasks)
        return (
            f"the step speaks of {second}, and in another stage of the run of {first}. Pass task=... or target=..., "
            "or callbacks of their own for each stage, with stages=[...]."
        )

    def hear(self, step: Step, given: Given) -> dict[str, ClassReading]:
        """One reading for each target that the step speaks of, with the task that it tells."""
        heads = meant(step, given, self)
        for head in heads:
            against = contradiction(self, head.heard)
            if against:
                raise ValueError(against)
        several = len(heads) > 1
        told = {head.name if several else "": self._told(as_said(self, head.heard)) for head in heads}
        if several:
            told = {name: replace(reading, target=name) for name, reading in told.items()}
        return told or {"": self}

    def _told(self, heard: HeardScores) -> ClassReading:
        return replace(self, task=heard.task, scores=heard.scores)

    def finder(self, taught: Sequence[PairFinder] = ()) -> PairFinder:
        """One for each stage."""
        return PairFinder(self, taught)

    def batch(self, found: Tensor, given: Given, rows: Rows) -> EvalBatch:
        """Logits and class indices; positions of a segmentation are rows of their own."""
        logits = to_logits(found, self.task, self._kind(given), given.indices.shape)
        flat, target = to_rows(logits, given.indices.to(found.device), self.task)
        valid = rows.valid
        if valid is not None:
            each = len(flat) // len(valid)
            valid = valid.repeat_interleave(each) if each > 1 else valid
            valid = valid[:, None].expand(target.shape) if target.ndim == 2 else valid
        for value in (self.ignore_index, given.ignored, NO_CLASS if given.gaps else None):
            if value is not None:
                kept = target != value
                valid = kept if valid is None else valid & kept
        samples = None if len(flat) == len(found) else len(found)
        sides = tuple(found.shape[2:]) if samples else ()
        said = given.ignored if self.ignore_index is None else self.ignore_index
        ignored = said if said in range(flat.shape[1]) and target.ndim == 1 else None
        single = self._kind(given) == "logits" and is_single(found, self.task, given.indices.shape)
        return EvalBatch(flat, target, valid, rows.index, given.inputs, given.context, samples, sides, ignored, single)

    def _kind(self, given: Given) -> ScoreKind:
        heard: Any = given.form  # "" where nothing was heard
        return heard or self.scores

    def check(self, batch: EvalBatch, found: Tensor, given: Given) -> None:
        """Raise where the values of the first batch contradict what was said of them."""
        check_batch(batch, found, given.target, replace(self, scores=self._kind(given)), heard=bool(given.form))

    def likeness(self, batch: EvalBatch) -> tuple[int, ...]:
        """The number of classes, and which of them is ignored, counted from 1, else 0."""
        return (batch.num_classes, 0 if batch.ignored is None else batch.ignored + 1)

    def against(self, batch: EvalBatch, given: Given, own: Mapping[str, float]) -> Against:
        """Accuracies of the module's own that are none of the batch's."""
        said = contradictions(of_batch(batch), own, self.target or "") if own else []
        guessed = not given.form and self.scores_fn is None
        cure = UNLIKE_GUESSED if guessed else UNLIKE_HEARD
        return Against([f"{one}. {cure}" for one in said], guessed)

    def unlike(self, key: str, before: tuple[int, ...], now: tuple[int, ...], other: str = "") -> str:
        """That the number of classes differs; stages may well ignore different ones."""
        if before[0] == now[0]:
            return ""
        places = f"in {other} and {now[0]} in {key}" if other else f"in one batch and {now[0]} in another"
        of = "one run" if other else key
        return (
            f"the scores of {of} have {before[0]} classes {places}; a figure over both has no meaning. "
            "Pass scores_fn=... that gives one number."
        )

    def part(self, likeness: tuple[int, ...], kinds: Kinds, device: torch.device) -> ClassPart:
        """Accumulators of one loader."""
        return ClassPart(likeness, kinds, device, labels=self.task == "multilabel")

    def names(self, likeness: tuple[int, ...], loader: Any) -> tuple[str, ...]:
        """The dataset's own names of the classes, else their indices."""
        return dataset_classes(loader, likeness[0]) or tuple(map(str, range(likeness[0])))

    def model(self, module: nn.Module, finder: PairFinder | None, likeness: tuple[int, ...]) -> Again:
        """A function from inputs to logits, through the call of the network that gave the step's."""
        num_classes = likeness[0]
        if finder is not None and finder.call is not None:
            return partial(finder.again, module, finder.call)
        entry = module.get_submodule(finder.by_shape.entry if finder else "")
        picker = ScoreFinder(replace(self, num_classes=num_classes))

        def scores(inputs: Any, _context: Sequence[Tensor] = ()) -> Tensor:
            shape = torch.Size([len(inputs), num_classes] if self.task == "multilabel" else [len(inputs)])
            return self.as_read(picker.pick(entry(inputs), shape))

        return scores

    def as_read(self, output: Any) -> Tensor:
        """Scores as logits."""
        return to_logits(output, self.task, self.scores)

    def captions(self, columns: Mapping[str, Tensor], names: Sequence[str]) -> list[Caption]:
        """Actual and predicted classes, or labels."""
        return captions(columns, names, labels=self.task == "multilabel")
