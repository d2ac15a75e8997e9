"""Figures beside those that the module logs itself: agreement is recorded, a contradiction is said, no false alarm."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from lightning_posttrain.classification.self_check import figure_of
from tests import toys

QUIET = {"curves": False, "resamples": 0, "on_error": "raise"}


class Logging(toys.Net):
    """Logs what ``own`` gives of its logits and targets; its loss is nobody's where ``heard`` is False."""

    def __init__(self, own, *, heard=True, loss=F.cross_entropy):
        super().__init__()
        self.own, self.heard, self.loss = own, heard, loss

    def step(self, batch, stage):
        logits = self(batch[0])
        if self.heard:
            self.log(f"{stage}_loss", self.loss(logits, batch[1]))
        for name, value in self.own(logits, batch[1]).items():
            self.log(f"{stage}_{name}", value)


def right(logits, y):
    return (logits.argmax(1) == y).float().mean()


@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_agreement_is_recorded_with_the_name_and_how_close(run):
    metrics, net = ClassificationMetrics(**QUIET), Logging(lambda z, y: {"acc": right(z, y)})
    trainer = toys.quiet(metrics)
    if run == "fit":
        trainer.fit(net, toys.loader(), toys.loader())
    else:
        getattr(trainer, run)(net, toys.loader(), verbose=False)
    stage = "test" if run == "test" else "val"
    said = " ".join(metrics.results[stage].notes)
    assert f"accuracy agrees with the module's {stage}_acc to " in said
    assert f"log loss agrees with the module's {stage}_loss to " in said


def test_a_guess_that_the_module_contradicts_raises_before_training_and_names_both_figures():
    trainer = toys.quiet(ConfusionMatrix())
    net = Logging(lambda z, y: {"acc": torch.tensor(0.123)}, heard=False)
    with pytest.raises(
        ValueError, match=r"val: the module logs val_acc 0\.123, and the accuracy of the same rows is 0"
    ):
        trainer.fit(net, toys.loader(), toys.loader())
    assert trainer.global_step == 0


def test_the_advice_of_that_error_works():
    matrix = ConfusionMatrix(scores_fn=lambda outputs, _: outputs["logits"], on_error="raise")

    class Returning(Logging):
        def step(self, batch, stage):
            super().step(batch, stage)
            return {"logits": self(batch[0])}

    net = Returning(lambda z, y: {"masked_acc": torch.tensor(0.123)}, heard=False)
    toys.quiet(matrix).fit(net, toys.loader(), toys.loader())
    assert matrix.results["val"].counts.sum() == 37


def test_what_was_heard_and_is_contradicted_is_said_once():
    net = Logging(lambda z, y: {"acc": torch.tensor(0.123)})
    with pytest.warns(UserWarning, match="those that the step's own loss or metric took") as caught:
        toys.quiet(ConfusionMatrix(), max_epochs=2).fit(net, toys.loader(), toys.loader())
    assert sum("val_acc" in str(w.message) for w in caught) == 1


def weighted(logits, y):
    return F.cross_entropy(logits, y, weight=torch.arange(1.0, 5.0))


def more_terms(logits, y):
    return F.cross_entropy(logits, y, label_smoothing=0.2) + 7 + logits.square().mean()


def over_all_rows(logits, y):
    return F.cross_entropy(logits, y.where(y > 0, -100), reduction="sum") / len(y)


def over_those_that_count(logits, y):
    return (logits.argmax(1) == y)[y >= 0].float().mean()


OWN = {
    "of the rows that count": lambda z, y: {"acc": over_those_that_count(z, y)},
    "in percent": lambda z, y: {"accuracy": 100 * over_those_that_count(z, y)},
    "of the five likeliest": lambda z, y: {"acc_top5": torch.ones(())},
    "of something else": lambda z, y: {"mask_acc": torch.zeros(())},
}


@pytest.mark.parametrize("loss", [weighted, more_terms, over_all_rows])
@pytest.mark.parametrize("own", OWN)
def test_weights_smoothing_terms_ignored_rows_and_uneven_batches_alarm_nobody(loss, own):
    x, y = toys.images(41).tensors
    data = TensorDataset(x, y.where(y > 0, -100) if loss is over_all_rows else y)
    net, metrics = Logging(OWN[own], loss=loss), ClassificationMetrics(**QUIET)
    toys.quiet(metrics).fit(net, toys.loader(data), toys.loader(data))  # a warning is an error in these tests
    assert metrics.results["val"].support.sum() == int((data.tensors[1] >= 0).sum())


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_metrics_of_torchmetrics_agree(average):
    class Metrics(toys.Net):
        def __init__(self):
            super().__init__()
            self.acc, self.f1 = MulticlassAccuracy(toys.CLASSES, average=average), MulticlassF1Score(toys.CLASSES)

        def step(self, batch, stage):
            logits = self(batch[0])
            for name, metric in (("acc", self.acc), ("f1", self.f1)):
                metric(logits, batch[1])
                self.log(f"{stage}_{name}", metric)

    metrics = ClassificationMetrics(**QUIET)
    toys.quiet(metrics, max_epochs=2).fit(Metrics(), toys.loader(), toys.loader())
    assert "accuracy agrees with the module's val_acc" in " ".join(metrics.results["val"].notes)


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        *((name, "accuracy") for name in ("val_acc", "valAccuracy", "test/cls/Acc", "val_OverallAccuracy")),
        *((name, "") for name in ("val_pixel_acc", "val_acc_cat", "val_aux_loss", "epoch")),
        ("val_loss", "loss"),
    ],
)
def test_names_say_what_they_are(name, figure):
    assert figure_of(name) == figure


def test_a_number_of_classes_that_changes_between_stages_gives_no_figures():
    class Growing(toys.Net):
        def __init__(self):
            super().__init__()
            self.wide = nn.Linear(64, 9)

        def step(self, batch, stage):
            logits = self.wide(batch[0].flatten(1)) if stage == "test" else self(batch[0])
            F.cross_entropy(logits, batch[1])

    matrix, net, said = ConfusionMatrix(), Growing(), "have 4 classes in val and 9 in test"
    trainer = toys.quiet(matrix)
    trainer.fit(net, toys.loader(), toys.loader())
    with pytest.warns(UserWarning, match=f"could not read a batch of test: .*{said}.* The run goes on"):
        trainer.test(net, toys.loader(), verbose=False)
    assert set(matrix.results) == {"val"}
    with pytest.raises(ValueError, match=said):  # nothing is lost by it
        toys.quiet(ConfusionMatrix()).test(net, toys.loader(), verbose=False)


def test_names_that_the_module_logs_itself_are_said_together_and_not_where_they_agree():
    class Own(toys.Net):
        def step(self, batch, stage):
            logits = self(batch[0])
            self.log(f"{stage}/accuracy", right(logits, batch[1]))
            self.log(f"{stage}/log_loss", F.cross_entropy(logits, batch[1]))
            if self.style == "dict":
                self.log(f"{stage}/mcc", 0.25)
                self.log(f"{stage}/f1_macro", 0.5)

    toys.quiet(ClassificationMetrics(**QUIET)).fit(Own(), toys.loader(), toys.loader())
    with pytest.warns(UserWarning, match=r"val/f1_macro \(0\.5, ours .*val/mcc \(0\.25, ours") as caught:
        toys.quiet(ClassificationMetrics(**QUIET)).fit(Own("dict"), toys.loader(), toys.loader())
    assert sum("logged by the module itself" in str(w.message) for w in caught) == 1
