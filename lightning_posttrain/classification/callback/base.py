"""The base of every callback that reads class scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from lightning.pytorch import LightningModule

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.reading import ClassReading
from lightning_posttrain.classification.tasks import TASKS, ScoreKind, Task
from lightning_posttrain.core.callback.callback import EvaluationCallback
from lightning_posttrain.core.callback.options import hashable, one_of
from lightning_posttrain.core.callback.overhead import SHARE
from lightning_posttrain.core.callback.reporting import Reporter
from lightning_posttrain.core.capture.class_names import naming_of
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.capture.loaders import Stage, named_loaders
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.samples.inputs import InputOptions
from lightning_posttrain.samples.model_access import ModelOptions


class EvaluationOptions(TypedDict, total=False):
    """What every callback takes; said on ``StreamCallback``."""

    name: str | None
    class_names: Sequence[str] | None
    num_classes: int | None
    task: Task | None
    scores: ScoreKind | None
    scores_fn: Callable[[Any, Any], Any] | None
    target_fn: Callable[[Any], Any] | None
    inputs_fn: Callable[[Any], Any] | None
    ignore_index: int | None
    target: str | None
    scores_from: str | None
    stages: Sequence[Stage]
    on_error: Literal["warn", "raise"]
    pictures_every: int | None
    log: Sequence[str] | None
    max_overhead: float | None


class ShownOptions(EvaluationOptions, InputOptions, total=False):
    """What a callback takes that shows samples; said on ``StreamCallback`` and ``InputOptions``."""


class SampleOptions(ShownOptions, ModelOptions, total=False):
    """What a callback takes that explains samples; said there, and on ``ModelOptions``."""


class StreamCallback(EvaluationCallback):
    """Base of all callbacks that read class scores from the evaluation stream.

    Args:
        name: goes before the quantity in tags and file names, ``val/<name>/accuracy``; for two of a kind.
        class_names: a name for each class, in order. Default: the dataset's ``classes``, a list, an array or a dict,
            else the indices.
        num_classes: number of classes. Default: told from the scores of the first batch.
        task: ``"multiclass"``: scores ``(N, C)``, targets ``(N,)``. ``"binary"``: scores ``(N,)``, ``(N, 1)`` or
            ``(N, 2)``, where one score speaks for class 1. ``"multilabel"``: both ``(N, L)``, targets 0 or 1. Further
            dimensions, as ``(N, C, H, W)`` with ``(N, H, W)`` of a segmentation, are counted position by position.
            Default: told by the step's own loss or metric, else ``"multiclass"``.
        scores: whether they are ``"logits"`` or ``"probabilities"``. Default: told likewise, else logits.
        scores_fn: from the step's outputs and the batch to the scores, where they are not found by themselves.
        target_fn: from the batch to class indices ``(N,)``. Default: what the step gives to its loss or metric, else
            the second of a tuple, or a dict's usual key.
        inputs_fn: from the batch to the inputs. Default: what the network was called with, else the first of a tuple,
            or a dict's usual key.
        ignore_index: target of rows, pixels or labels that enter no figure. Default: that of the step's loss.
        target: name of the part of the batch that is the target, as ``"species"``, where the step has several.
            Default: each is reported, as ``val/species/accuracy``.
        scores_from: which of several scores for one target are meant, by a name that the error lists.
        stages: which of ``"train"``, ``"val"`` and ``"test"``; training is read as it happens, with dropout and with
            weights that change.
        on_error: ``"warn"``: what goes wrong is said once, with what is left out for it, and the run goes on.
            ``"raise"``: it ends the run. A configuration that would give wrong figures raises in any case, as long as
            nothing has been trained.
        pictures_every: loggers get pictures and tables of each so many-th evaluation of a fit, with 1 of all; always of
            the first and the last, and of no more than ``max_overhead`` has room for. Default: of about 20, spread over
            ``max_epochs``. Files are the latest drawn.
        log: which scalars loggers and the table of a test get, by what follows the stage in their tags, with ``*`` for
            any letters, as ``["calibration/*"]``. Default: the few that one follows. The others can be monitored all
            the same, as ``ModelCheckpoint(monitor="val/calibration/ace")``, and stand in files.
        max_overhead: share of a fit's seconds, of 60 at least, that pictures, tables, intervals and explanations take,
            all callbacks with the same share together; by their measured cost they are left out of evaluations, which
            is said. The first evaluation and the last of a fit have them, each test and each validation by itself;
            what is logged and can be monitored is in all. None: nothing is left out.

    Attributes:
        results: the last result of each stage by ``"val"`` and ``"test"``, and ``"val/dataloader_1"`` for a
            second dataloader; the same on every rank, except for explanations, which are made on the first.
    """

    reading: ClassReading
    reads_members: bool = False
    """Whether it reads the scores of an ensemble, whose batches say how much members disagree."""

    def __init__(
        self,
        *,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
        task: Task | None = None,
        scores: ScoreKind | None = None,
        scores_fn: Callable[[Any, Any], Any] | None = None,
        target_fn: Callable[[Any], Any] | None = None,
        inputs_fn: Callable[[Any], Any] | None = None,
        ignore_index: int | None = None,
        target: str | None = None,
        scores_from: str | None = None,
        stages: Sequence[Stage] = ("val", "test"),
        on_error: Literal["warn", "raise"] = "warn",
        pictures_every: int | None = None,
        log: Sequence[str] | None = None,
        max_overhead: float | None = SHARE,
    ) -> None:
        names = None if class_names is None else distinct(class_names)
        one_of("task", TASKS[0] if task is None else task, TASKS)
        one_of("scores", "logits" if scores is None else scores, ("logits", "probabilities"))
        if names is not None and num_classes not in (None, len(names)):
            raise ValueError(f"`class_names` has {len(names)} names, but `num_classes` is {num_classes}.")
        for argument, function in (("scores_fn", scores_fn), ("target_fn", target_fn), ("inputs_fn", inputs_fn)):
            hashable(argument, function)
        # names do not narrow the reading, so that callbacks with and without them share one
        reading = ClassReading.of(
            task=task, scores=scores, num_classes=num_classes, scores_fn=scores_fn, target_fn=target_fn,
            inputs_fn=inputs_fn, ignore_index=ignore_index, target=target, scores_from=scores_from,
        )  # fmt: skip
        super().__init__(
            reading, name=name, stages=stages, on_error=on_error, pictures_every=pictures_every, log=log,
            max_overhead=max_overhead,
        )  # fmt: skip
        self.class_names = names

    def rename(self, name: str) -> None:
        """Take another name, which goes before the quantity in tags."""
        self.name = name
        self._reporter = Reporter(self)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise where the arguments do not go with the first batch."""
        names = self.class_names
        if names is not None and len(names) != batch.num_classes:
            raise ValueError(
                f"`class_names` has {len(names)} names, but the scores have {batch.num_classes} classes. "
                "Pass one name for each class, in the order of the columns."
            )
        classes = getattr(batch, "num_classes", None)  # a batch of another family has none
        for _, loader, _ in named_loaders(module.trainer) if names is None and classes else ():
            why = naming_of(attribute(loader, "dataset"), classes).why
            if why:
                text = f"{why}. Classes are shown by their number; class_names=[...] names them."
                EvaluationStream.of(module.trainer).say_once(text)

    def namings(self, module: LightningModule, batch: EvalBatch) -> list[tuple[str, ...]]:
        """Names of the classes, in each loader of the present stage."""
        likeness = self.reading.likeness(batch)
        loaders = named_loaders(module.trainer)
        return [self.names(self.reading.names(likeness, loader)) for _, loader, _ in loaders]

    def names(self, found: tuple[str, ...]) -> tuple[str, ...]:
        """Of the classes: as they were said, else the dataset's, else the indices."""
        return self.class_names or found


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` as they will be shown; raises ``ValueError`` where two are the same."""
    if isinstance(names, (str, Mapping)):
        raise ValueError(f"`class_names` is a {type(names).__name__}, wanted a list with a name for each class.")
    texts = tuple(map(str, names))
    twice = [name for name, times in Counter(texts).items() if times > 1]
    if twice or not all(texts) or not texts:
        raise ValueError(
            f"`class_names` has {twice[0]!r} twice." if twice else "`class_names` has an empty name or none."
        )
    return texts
