"""The stream knows no family: one that counts something else, the error of numbers, is a few dozen lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from sklearn.metrics import mean_absolute_error
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_posttrain import ConfusionMatrix, HardExampleMining, HardExamples, HardExampleSampler
from lightning_posttrain.core.callback.callback import EvaluationCallback
from lightning_posttrain.core.output.artifacts import Table, Tagged
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.reading import Against, Caption, Found, Given, Hardness
from tests import toys


@dataclass(frozen=True, eq=False)
class Numbers:
    """Predictions and targets ``(N, K)``."""

    predicted: Tensor
    target: Tensor
    valid: Tensor | None
    index: Tensor | None
    inputs: Any

    @property
    def size(self) -> int:
        return len(self.target)

    def losses(self) -> Tensor:
        loss = (self.predicted - self.target).abs().mean(1)
        return loss if self.valid is None else loss.masked_fill(~self.valid, torch.nan)

    def hardness(self) -> Hardness:
        loss = self.losses()
        return Hardness(loss.nan_to_num(0.0), ~loss.isnan(), columns={"said": self.predicted})


@dataclass(frozen=True)
class Errors:
    """A result."""

    mean: float
    rows: int
    notes: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()

    def scalars(self) -> dict[str, float]:
        return {"mae": self.mean}

    def to_dict(self) -> dict[str, Any]:
        return {"mae": self.mean, "rows": self.rows}


class AbsoluteErrors(StreamMetric):
    """Sums of absolute errors."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.width = width
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.count("rows")

    def update(self, batch: Numbers) -> None:
        loss = batch.losses().double()
        self.total += loss.nan_to_num(0.0).sum()
        self.rows += (~loss.isnan()).sum()

    def read(self, states: Any) -> Errors:
        return Errors(float(states["total"] / states["rows"]), int(states["rows"]))


class Part:
    def __init__(self, width: int, kinds: Any) -> None:
        self.metrics = {kind: kind(width, sync_on_compute=False) for kind in dict.fromkeys(kinds)}
        self.likeness, self.independent, self.seen = (width,), True, torch.zeros((), dtype=torch.float64)

    def add(self, batch: Numbers) -> None:
        for metric in self.metrics.values():
            metric.update(batch)

    def watch(self, batch: Numbers) -> None:
        self.seen += batch.predicted.double().sum()

    def flush(self) -> None:
        """Nothing is gathered."""

    def results(self) -> dict[type[StreamMetric], Any]:
        return {kind: metric.report(metric.states()) for kind, metric in self.metrics.items()}


@dataclass(frozen=True)
class NumberReading:
    """Numbers that the step returns under ``"prediction"``, against the second of the batch."""

    inputs_fn: Callable[[Any], Any] | None = None
    alike: ClassVar[tuple[str, ...]] = ("width",)

    def given(self, batch: Any) -> Given:
        return Given(batch[1], batch[1], batch[0])

    def given_again(self, given: Given) -> Given:
        return given

    def hear(self, step: Any, given: Given) -> dict[str, NumberReading]:
        return {"": self}

    def finder(self, taught: Any) -> NumberReading:
        return self

    listens: ClassVar[bool] = False
    modules: ClassVar[Any] = None

    def find(self, step: Any, given: Given) -> Found:
        return Found(step.outputs["prediction"], given)

    def batch(self, found: Tensor, given: Given, rows: Any) -> Numbers:
        return Numbers(found, given.indices, rows.valid, rows.index, given.inputs)

    def check(self, batch: Numbers, found: Tensor, given: Given) -> None:
        if found.shape != given.indices.shape:
            raise ValueError(f"predictions have shape {tuple(found.shape)}, targets {tuple(given.indices.shape)}")

    def against(self, batch: Numbers, given: Given, own: Any) -> Against:
        return Against()

    def likeness(self, batch: Numbers) -> tuple[int, ...]:
        return (batch.predicted.shape[1],)

    def unlike(self, key: str, before: tuple[int, ...], now: tuple[int, ...], other: str = "") -> str:
        return f"{key} has {before[0]} numbers a row in one batch and {now[0]} in another"

    def part(self, likeness: tuple[int, ...], kinds: Any, device: torch.device) -> Part:
        return Part(*likeness, kinds)

    def names(self, likeness: tuple[int, ...], loader: Any) -> tuple[str, ...]:
        return tuple(f"number {i}" for i in range(*likeness))

    def model(self, module: Any, finder: Any, likeness: tuple[int, ...]) -> Callable[[Any], Tensor]:
        return module

    def as_read(self, output: Any) -> Tensor:
        return output

    def captions(self, columns: Any, names: Any) -> list[Caption]:
        return [Caption(predicted=f"{row[0]:.2f}") for row in columns["said"].tolist()]


class NumberErrors(EvaluationCallback):
    tag = "errors"

    def __init__(self, stages: Any = ("val", "test")) -> None:
        super().__init__(NumberReading(), name=None, stages=stages, on_error="raise")

    def metrics(self) -> tuple[type[StreamMetric], ...]:
        return (AbsoluteErrors,)

    def summarize(self, module: Any, evaluation: Any, names: tuple[str, ...]) -> Errors:
        self.seen_names = names
        return evaluation.result(AbsoluteErrors)

    def show(self, result: Errors, title: str) -> list[Tagged]:
        return [Tagged("errors", Table(("mae",), ((result.mean,),)))]


class Regressor(toys.Net):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, width))

    def step(self, batch, stage):
        prediction = self(batch[0])
        loss = (prediction[:, :2] - batch[1]).abs().mean()
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "prediction": prediction}

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")


def data(rows=37):
    pictures = toys.images(rows).tensors[0]
    return TensorDataset(pictures, torch.stack([pictures.mean((1, 2, 3)), pictures.amax((1, 2, 3))], 1))


def by_hand(module, rows):
    module.eval()
    with torch.no_grad():
        return module(rows.tensors[0])


def test_its_figure_is_scikit_learns_over_all_batches():
    callback, module = NumberErrors(), Regressor()
    toys.quiet(callback).test(module, toys.loader(data()), verbose=False)
    wanted = mean_absolute_error(data().tensors[1].numpy(), by_hand(module, data()).numpy())
    assert callback.results["test"].mean == pytest.approx(wanted, rel=1e-6)
    assert callback.results["test"].rows == 37
    assert callback.seen_names == ("number 0", "number 1")


def test_it_is_logged_in_fit_and_stands_beside_another_family(tmp_path):
    errors = NumberErrors(["train", "val"])
    target = lambda batch: (batch[1][:, 1] > 1.5).long()  # noqa: E731
    matrix = ConfusionMatrix(scores_fn=lambda outputs, _: outputs["prediction"], target_fn=target, on_error="raise")
    trainer = toys.quiet([errors, matrix])
    trainer.fit(Regressor(), toys.loader(data()), toys.loader(data()))
    assert {"train/mae", "val/mae"} <= set(trainer.callback_metrics)
    assert matrix.results["val"].counts.sum() == 37
    assert (tmp_path / "posttrain" / "val" / "errors.json").exists()


def test_a_first_batch_that_contradicts_it_raises_in_its_own_words():
    with pytest.raises(ValueError, match=r"predictions have shape \(10, 3\), targets \(10, 2\)"):
        toys.quiet(NumberErrors()).validate(Regressor(3), toys.loader(data()), verbose=False)


def test_batches_that_differ_raise_in_its_own_words():
    class Odd(Regressor):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            outputs = self.step(batch, "val")
            return outputs if batch_idx == 0 else {"prediction": outputs["prediction"][:, :1]}

    with pytest.raises(ValueError, match="val has 2 numbers a row in one batch and 1 in another"):
        toys.quiet(NumberErrors()).validate(Odd(), toys.loader(data()), verbose=False)


def test_hard_examples_are_fed_by_its_losses_and_captions():
    callback, module = HardExamples(k=3, pairs=0, on_error="raise"), Regressor()
    callback.reading = NumberReading()
    toys.quiet(callback).test(module, toys.loader(data()), verbose=False)
    predicted, target = by_hand(module, data()), data().tensors[1]
    losses = (predicted - target).abs().mean(1)
    worst = losses.topk(3)
    group = callback.results["test"].groups[0]
    assert [example.index for example in group.examples] == worst.indices.tolist()
    torch.testing.assert_close(torch.tensor([example.loss for example in group.examples]), worst.values)
    assert [example.predicted for example in group.examples] == [f"{predicted[i, 0]:.2f}" for i in worst.indices]


def test_mining_is_fed_by_its_losses():
    mining, rows = HardExampleMining(on_error="raise"), data()
    mining.reading = NumberReading()
    sampler = HardExampleSampler(rows)
    toys.quiet(mining).fit(Regressor(), toys.loader(rows, sampler=sampler), toys.loader(data()))
    assert sampler.losses.shape == (37,)
    assert bool(sampler.losses.isfinite().all())
    assert float(sampler.losses.std()) > 0
