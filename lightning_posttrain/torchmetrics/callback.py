"""Any torchmetrics metric, accumulated, joined over ranks and reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, final

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_posttrain.classification import StreamCallback
from lightning_posttrain.core.capture.loaders import (
    RowCounter,
    Stage,
    dataset_classes,
    named_loaders,
    of_other_stages,
    stage_of,
)
from lightning_posttrain.core.capture.target_and_inputs import describe
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.torchmetrics.copies import MetricCopies, unpacked
from lightning_posttrain.torchmetrics.heard import HeardArguments
from lightning_posttrain.torchmetrics.result import MetricValues


@final
class TorchMetrics(StreamCallback):
    """Reports any torchmetrics metric or collection at every validation and test: regression, detection, audio, text.

    The metric is copied for each stage and dataloader, kept off the module and out of its checkpoints, updated from
    what the step returns, joined over ranks also where one saw no batch, and reset between epochs. Numbers are logged
    as the module's own, under the metric's class name or its name in the collection; vectors are tables, matrices
    pictures, and all values stand in JSON.

    Rows that a distributed sampler repeated at the end of the last batch are cut off, where the arguments have as many
    rows as the batch.

    Args:
        metric: a metric, a collection, or a dict of metrics by name.
        update_fn: from the step's outputs and the batch to the arguments of ``update``: a tuple, or a dict of keyword
            arguments. Default: what stands under ``"preds"`` and ``"target"`` in the outputs, else the prediction and
            target that the step gives to its own loss or metric.
        max_logged: with more classes than this, vectors with an entry for each are in the table only.
        name: goes before the quantity in tags and file names, ``val/<name>/...``; for two of a kind.
        class_names: names for the entries of vectors and matrices. Default: the dataset's ``classes``, else numbers.
        stages: which of ``"train"``, ``"val"`` and ``"test"``.
        on_error: see ``StreamCallback``; what ``update`` raises is such an error.
        pictures_every: of how many evaluations loggers get pictures and tables, see ``StreamCallback``.
        log: names of the numbers that loggers get, see ``StreamCallback``. Default: all.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from torchmetrics.regression import MeanAbsoluteError
        >>> trainer = Trainer(callbacks=TorchMetrics(MeanAbsoluteError()), logger=False)
    """

    tag = "torchmetrics"

    def __init__(
        self,
        metric: Metric | MetricCollection | Mapping[str, Metric],
        *,
        update_fn: Callable[[Any, Any], Any] | None = None,
        max_logged: int = 20,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        stages: Sequence[Stage] = ("val", "test"),
        on_error: Literal["warn", "raise"] = "warn",
        pictures_every: int | None = None,
        log: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name=name, class_names=class_names, stages=stages, on_error=on_error, pictures_every=pictures_every,
            log=log,
        )  # fmt: skip
        given: Any = metric
        if not isinstance(given, (Metric, MetricCollection, Mapping)):
            of_class = f"the class {given.__name__}, add ()" if isinstance(given, type) else type(given).__name__
            raise ValueError(f"`metric` is {of_class}; wanted a torchmetrics Metric, a MetricCollection or a dict.")
        self.metric = unpacked(metric)
        self.update_fn = update_fn
        self.max_logged = max_logged
        self._copies: dict[str, MetricCopies] = {}
        self._counters: dict[str, RowCounter] = {}
        self._heard: dict[str, HeardArguments] = {}
        self._returned = False

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; copies are made anew in each, whose device may be another."""
        self._copies, self._counters, self._heard = {}, {}, {}

    def hears(self, trainer: Trainer) -> bool:
        """Where nothing else says what ``update`` is to be given."""
        return self.update_fn is None and not self._returned and stage_of(trainer) in self.stages

    def takes(self, trainer: Trainer) -> bool:
        """No class scores are wanted."""
        return False

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the last epoch."""
        stage = stage_of(trainer)
        self._counters = of_other_stages(self._counters, trainer)
        for key, guests in self._copies.items():
            if key.split("/")[0] == stage:
                guests.reset()

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Update from a step."""
        if stage_of(trainer) not in self.stages:
            return
        suffix, source, _ = named_loaders(trainer)[loader]
        key = stage_of(trainer) + suffix
        rows, kept = self._counters.setdefault(key, RowCounter(source)).keep()
        if rows and not kept:
            return
        given = self._arguments(trainer, key, outputs, batch)
        args, kwargs = ((), given) if isinstance(given, Mapping) else (given, {})
        if kept < rows and not any(_sized(one, rows) for one in (*args, *kwargs.values())):
            EvaluationStream.of(trainer).say_once(
                f"TorchMetrics: the last {rows - kept} rows of a batch of {key} are repeats of a distributed sampler, "
                "and no argument of update has as many rows as the batch, so that they count."
            )
        with torch.no_grad():
            self._copies_of(key, module).update(
                *(_cut(one, rows, kept) for one in args), **{k: _cut(v, rows, kept) for k, v in kwargs.items()}
            )

    def _copies_of(self, key: str, module: LightningModule) -> MetricCopies:
        if key not in self._copies:
            self._copies[key] = MetricCopies(self.metric, module.device)
        return self._copies[key]

    def _arguments(self, trainer: Trainer, key: str, outputs: Any, batch: Any) -> Any:
        if self.update_fn is not None:
            try:
                given = self.update_fn(outputs, batch)
            except Exception as error:
                raise ValueError(
                    f"`update_fn` raised {type(error).__name__}: {error}. Its arguments are what the step returned, "
                    f"here {describe(outputs)}, and the batch, here {describe(batch)}."
                ) from error
            return given if isinstance(given, (tuple, Mapping)) else (given,)
        if isinstance(outputs, Mapping) and "preds" in outputs and "target" in outputs:
            self._returned = True
            return outputs["preds"], outputs["target"]
        pairs = EvaluationStream.of(trainer).reader.heard
        found = self._heard.setdefault(key, HeardArguments(self.metric)).take(pairs)
        if found is not None:
            return found
        raise ValueError(
            f"TorchMetrics found no arguments: the step returned {describe(outputs)}, wanted a dict with 'preds' and "
            "'target', and gave no pair of these to a loss or metric that it could hear. Pass "
            "update_fn=lambda outputs, batch: (..., ...)."
        )

    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """The loaders of which some rank saw a batch."""
        stage = stage_of(trainer)
        if stage not in self.stages:
            return []
        found = []
        for suffix, loader, _ in named_loaders(trainer):
            if self._copies_of(stage + suffix, module).sync(trainer):
                names = dataset_classes(loader)
                found.append(Evaluation(stage, suffix, names or (), {}, True))
        return found

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> MetricValues:
        """The values."""
        with torch.inference_mode(False), torch.no_grad():
            values, failed = self._copies[evaluation.key].compute()
        if failed and self.on_error == "raise":
            raise RuntimeError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
        return MetricValues(values, names or None, failed)

    def scalars(self, result: MetricValues) -> dict[str, float]:
        """Numbers, and the entries of vectors that have one for each class name, where those are few."""
        names = result.class_names or ()
        of_classes = (pair for pair in result.vectors().items() if len(pair[1]) == len(names) <= self.max_logged)
        entries = {f"{name}/{k}": float(v) for name, vector in of_classes for k, v in zip(names, vector, strict=True)}
        return {**result.scalars(), **entries}

    def show(self, result: MetricValues, title: str) -> Iterator[Tagged]:
        """A table of numbers, one for vectors of each length, and a picture of each matrix."""
        from lightning_posttrain.torchmetrics.render import matrix_image, matrix_table, numbers_table, vector_tables

        yield Tagged("metrics", numbers_table(result))
        for length, table in vector_tables(result).items():
            yield Tagged(f"metrics_of_{length}", table)
        for name, matrix in result.matrices().items():
            yield Tagged(name, matrix_table(result, name))
            if matrix.shape[0] == matrix.shape[1]:
                yield Tagged(f"{name}_matrix", matrix_image(result, name, title=title))


def _sized(value: Any, rows: int) -> bool:
    """Whether it has an entry for each row."""
    return (isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim > 0)) and len(value) == rows


def _cut(value: Any, rows: int, kept: int) -> Any:
    return value[:kept] if kept < rows and _sized(value, rows) else value
