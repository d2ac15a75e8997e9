import csv
import json
import pickle

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import TensorDataset
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
)
from torchmetrics.regression import MeanAbsoluteError, PearsonCorrCoef, R2Score
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric

from lightning_posttrain import TorchMetrics
from tests import toys


class Regression(toys.Net):
    """One number a row."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch[0])[:, 0], batch[1])

    def step(self, batch, stage):
        return {"y_hat": self(batch[0])[:, 0]}


def numbers(rows=37):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator)
    return TensorDataset(x, x.sum(1) + 0.1 * torch.randn(rows, generator=generator))


def of_outputs(outputs, batch):
    return outputs["y_hat"], batch[1]


def test_regression_in_one_line():
    torch.manual_seed(0)
    data, module = numbers(), Regression()
    collection = MetricCollection([MeanAbsoluteError(), R2Score(), PearsonCorrCoef()])
    metrics = TorchMetrics(collection, update_fn=of_outputs, on_error="raise")
    (logged,) = toys.quiet(metrics).test(module, toys.loader(data), verbose=False)
    with torch.no_grad():
        wanted = collection(module.model(data.tensors[0])[:, 0], data.tensors[1])
    assert set(logged) == {f"test/{name}" for name in wanted}
    for name, value in wanted.items():
        assert logged[f"test/{name}"] == pytest.approx(float(value), abs=1e-5)


def test_epochs_and_stages_do_not_mix_and_it_can_be_monitored():
    seen = []

    class Seen(EarlyStopping):
        def _evaluate_stopping_criteria(self, current):
            seen.append(float(current))
            return super()._evaluate_stopping_criteria(current)

    metrics = TorchMetrics(MeanAbsoluteError(), update_fn=of_outputs)
    stop = Seen("val/MeanAbsoluteError", patience=100)
    module = Regression()
    toys.quiet([stop, metrics], max_epochs=3).fit(module, toys.loader(numbers()), toys.loader(numbers()))
    assert len(set(seen)) == 3
    with torch.no_grad():
        error = (module.model(numbers().tensors[0])[:, 0] - numbers().tensors[1]).abs().mean()
    assert seen[-1] == pytest.approx(float(error), abs=1e-5)


class Scored(toys.Net):
    def step(self, batch, stage):
        return {"preds": self(batch[0]).softmax(1), "target": batch[1]}


def test_vectors_and_matrices_are_shown(tmp_path):
    names = ["a", "b", "c", "d"]
    collection = MetricCollection(
        [MulticlassAccuracy(4), MulticlassF1Score(4, average=None), MulticlassConfusionMatrix(4)], prefix="my_"
    )
    metrics = TorchMetrics(collection, class_names=names, on_error="raise")
    (logged,) = toys.quiet(metrics).test(Scored(), toys.loader(), verbose=False)
    each = {f"test/my_MulticlassF1Score/{name}" for name in names}
    assert set(logged) == {"test/my_MulticlassAccuracy", *each}
    folder = tmp_path / "posttrain" / "test"
    with (folder / "metrics_of_4.csv").open() as file:
        assert [row["class"] for row in csv.DictReader(file)] == names
    assert (folder / "my_MulticlassConfusionMatrix_matrix.png").exists()
    record = json.loads((folder / "torchmetrics.json").read_text())
    assert sum(map(sum, record["values"]["my_MulticlassConfusionMatrix"])) == 37


def test_metrics_that_are_equal_on_the_first_batch_do_not_share_a_state():
    # torchmetrics would join these two, as their states are equal after the first batch, which has no class 0
    collection = MetricCollection(
        {
            "all": MulticlassPrecision(4, average="micro"),
            "some": MulticlassPrecision(4, average="micro", ignore_index=0),
        }
    )
    data = toys.images()
    data.tensors[1][:10] = 1
    data.tensors[1][10:30] = 0
    metrics = TorchMetrics(collection, on_error="raise")
    module = Scored()
    (logged,) = toys.quiet(metrics).test(module, toys.loader(data), verbose=False)
    actual, predicted = toys.predictions(module, data)
    kept = actual != 0
    assert logged["test/all"] == pytest.approx((actual == predicted).mean())
    assert logged["test/some"] == pytest.approx((actual == predicted)[kept].mean())


def test_no_state_and_no_metric_come_to_the_module_or_its_checkpoint(tmp_path):
    metric = MeanAbsoluteError()
    module = Regression()
    before = set(module.state_dict())
    trainer = toys.quiet(TorchMetrics(metric, update_fn=of_outputs))
    trainer.fit(module, toys.loader(numbers()), toys.loader(numbers()))
    assert set(module.state_dict()) == before
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert not metric.update_called


def test_fit_validate_and_test_in_turn_pass_inference_mode():
    metrics = TorchMetrics(MulticlassConfusionMatrix(4), on_error="raise")
    trainer = toys.quiet(metrics, max_epochs=2)
    for run in (trainer.validate, trainer.fit, trainer.test, trainer.validate):
        loaders = (toys.loader(), toys.loader()) if run == trainer.fit else (toys.loader(),)
        run(Scored(), *loaders)
        assert all(value.values["MulticlassConfusionMatrix"].sum() == 37 for value in metrics.results.values())


def test_wrappers_work_and_their_random_numbers_are_their_own():
    def weights(callbacks):
        torch.manual_seed(0)

        class Noisy(Scored):
            def training_step(self, batch, batch_idx):
                return nn.functional.cross_entropy(self(batch[0] + torch.randn_like(batch[0])), batch[1])

        module = Noisy()
        toys.quiet(callbacks, max_epochs=2).fit(module, toys.loader(shuffle=True), toys.loader())
        return list(module.state_dict().values())

    boot = BootStrapper(MulticlassAccuracy(4, average="micro"), num_bootstraps=20)
    metrics = TorchMetrics({"boot": boot, "each": ClasswiseWrapper(MulticlassAccuracy(4, average=None))})
    plain, watched = weights([]), weights(metrics)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    values = metrics.results["val"].values
    assert float(values["std"]) > 0
    assert "multiclassaccuracy_2" in values


def test_a_loss_by_itself_and_keyword_arguments():
    def weighted(outputs, batch):
        return {"value": outputs["y_hat"], "weight": batch[1].abs()}

    metrics = TorchMetrics(MeanMetric(), update_fn=weighted)
    module = Regression()
    (logged,) = toys.quiet(metrics).test(module, toys.loader(numbers()), verbose=False)
    x, y = numbers().tensors
    with torch.no_grad():
        wanted = (module.model(x)[:, 0] * y.abs()).sum() / y.abs().sum()
    assert logged["test/MeanMetric"] == pytest.approx(float(wanted), abs=1e-5)


def test_several_loaders_and_names():
    metrics = [TorchMetrics(MeanAbsoluteError(), update_fn=of_outputs, name=name) for name in ("one", "two")]
    toys.quiet(metrics).test(Regression(), [toys.loader(numbers()), toys.loader(numbers(12))], verbose=False)
    assert set(metrics[0].results) == {"test", "test/dataloader_1"}


def test_outputs_that_hold_no_arguments_raise_with_the_cure():
    with pytest.raises(ValueError, match=r"wanted a dict with 'preds' and 'target', and .*Pass update_fn="):
        toys.quiet(TorchMetrics(MeanAbsoluteError())).validate(Regression(), toys.loader(numbers()), verbose=False)
    with pytest.raises(ValueError, match="`metric` is str; wanted a torchmetrics Metric"):
        TorchMetrics("accuracy")


def test_two_wrappers_with_the_same_keys_keep_both_values():
    wrapped = {"a": MinMaxMetric(MulticlassAccuracy(4)), "b": MinMaxMetric(MulticlassPrecision(4))}
    (logged,) = toys.quiet(TorchMetrics(wrapped)).test(Scored(), toys.loader(), verbose=False)
    assert set(logged) == {f"test/{name}/{key}" for name in "ab" for key in ("raw", "max", "min")}


def test_an_update_fn_that_fails_says_what_it_was_given():
    metrics = TorchMetrics(MeanAbsoluteError(), update_fn=lambda outputs, batch: outputs["yhat"])
    with pytest.raises(ValueError, match=r"`update_fn` raised KeyError: 'yhat'.*a dict with keys y_hat"):
        toys.quiet(metrics).validate(Regression(), toys.loader(numbers()), verbose=False)
    with pytest.raises(ValueError, match=r"`metric` is the class MeanAbsoluteError, add \(\)"):
        TorchMetrics(MeanAbsoluteError)


class Failing(Metric):
    def update(self, preds, target):
        pass

    def compute(self):
        raise ZeroDivisionError("no rows")


def test_a_metric_that_fails_at_the_end_costs_a_warning_and_the_others_nothing():
    metrics = TorchMetrics({"bad": Failing(), "good": MeanAbsoluteError()}, update_fn=of_outputs)
    with pytest.warns(UserWarning, match="bad gave no value"):
        (logged,) = toys.quiet(metrics).test(Regression(), toys.loader(numbers()), verbose=False)
    assert set(logged) == {"test/good"}


def test_it_can_be_pickled_before_and_after_a_run():
    metrics = TorchMetrics(MeanAbsoluteError(), update_fn=of_outputs)
    pickle.loads(pickle.dumps(metrics))
    toys.quiet(metrics).validate(Regression(), toys.loader(numbers()), verbose=False)
    assert set(pickle.loads(pickle.dumps(metrics)).results) == {"val"}


def test_alone_beside_and_before_others():
    from lightning_posttrain import ConfusionMatrix

    for order in ([0, 1], [1, 0]):
        callbacks = [TorchMetrics(MulticlassConfusionMatrix(4), on_error="raise"), ConfusionMatrix(on_error="raise")]
        toys.quiet([callbacks[i] for i in order]).test(Scored(), toys.loader(), verbose=False)
        ours, theirs = callbacks[1].results["test"], callbacks[0].results["test"]
        assert torch.equal(ours.counts, theirs.values["MulticlassConfusionMatrix"])


class Silent(Regression):
    """Returns nothing; its loss alone says what it predicts."""

    def __init__(self, loss=nn.functional.mse_loss):
        super().__init__()
        self.loss = loss

    def step(self, batch, stage):
        self.log(f"{stage}_loss", self.loss(self(batch[0])[:, 0], batch[1]))


@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_without_update_fn_the_pair_of_the_step_s_own_loss_is_taken(run):
    data, module = numbers(), Silent()
    metrics = TorchMetrics(MetricCollection([MeanAbsoluteError(), R2Score()]), on_error="raise")
    trainer = toys.quiet(metrics)
    if run == "fit":
        trainer.fit(module, toys.loader(data), toys.loader(data))
    else:
        getattr(trainer, run)(module, toys.loader(data), verbose=False)
    with torch.no_grad():
        predicted = module.eval()(data.tensors[0])[:, 0]
    found = metrics.results["test" if run == "test" else "val"].scalars()
    assert found["MeanAbsoluteError"] == pytest.approx(float((predicted - data.tensors[1]).abs().mean()), abs=1e-6)
    assert found["R2Score"] == pytest.approx(float(R2Score()(predicted, data.tensors[1])), abs=1e-5)


def test_of_a_class_and_a_value_the_one_that_suits_the_metric_is_taken():
    class Both(toys.Net):
        def step(self, batch, stage):
            logits = self(batch[0])
            nn.functional.cross_entropy(logits, batch[1])
            nn.functional.l1_loss(batch[0].mean((1, 2, 3)), batch[0].amax((1, 2, 3)))

    (x, y), net = toys.images().tensors, Both()
    values, classes = TorchMetrics(MeanAbsoluteError(), name="a"), TorchMetrics(MulticlassAccuracy(4), name="b")
    toys.quiet([values, classes]).test(net, toys.loader(), verbose=False)
    wanted = float((x.mean((1, 2, 3)) - x.amax((1, 2, 3))).abs().mean())
    assert values.results["test"].scalars()["MeanAbsoluteError"] == pytest.approx(wanted, abs=1e-6)
    accuracy = float(MulticlassAccuracy(4)(net.eval()(x), y))
    assert classes.results["test"].scalars()["MulticlassAccuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_several_pairs_that_would_do_raise_and_are_named():
    class Two(Regression):
        def step(self, batch, stage):
            nn.functional.mse_loss(self(batch[0])[:, 0], batch[1])
            nn.functional.l1_loss(2 * self(batch[0])[:, 0], batch[1])

    with pytest.raises(ValueError, match=r"several pairs .*mse_loss: a tensor \(10,\), l1_loss: .*Pass update_fn"):
        toys.quiet(TorchMetrics(MeanAbsoluteError())).test(Two(), toys.loader(numbers()), verbose=False)


def test_a_loss_of_one_s_own_says_nothing_and_the_error_says_so():
    loss = lambda a, b: ((a - b) ** 4).mean()  # noqa: E731
    with pytest.raises(ValueError, match=r"found no arguments: the step returned None.*Pass update_fn"):
        toys.quiet(TorchMetrics(MeanAbsoluteError())).test(Silent(loss), toys.loader(numbers()), verbose=False)
