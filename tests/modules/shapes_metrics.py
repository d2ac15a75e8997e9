"""Steps whose scores reach a metric and no loss, or neither."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import multiclass_accuracy

from tests.modules.shapes import CLASSES, FEATURES, Module, shape


class Head(Module):
    """Its last layer is no module, so that what reaches the metric is known to it alone."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh()))
        self.last = nn.Linear(8, CLASSES)

    def logits(self, x):
        return F.linear(self.net(x), self.last.weight, self.last.bias)

    def loss(self, batch, stage):
        return F.cross_entropy(self.logits(batch[0]), batch[1])

    def by_hand(self, batch, stage):
        return self.last(self.net(batch[0])), batch[1]


@shape("a metric alone")
class Metric(Head):
    def __init__(self):
        super().__init__()
        self.accuracy = MulticlassAccuracy(CLASSES, average="micro")

    def evaluation_step(self, batch, stage):
        self.accuracy(self.logits(batch[0]), batch[1])
        self.log(f"{stage}_acc", self.accuracy)


@shape("metrics in a collection")
class Collection(Head):
    def __init__(self):
        super().__init__()
        self.metrics = MetricCollection([MulticlassAccuracy(CLASSES), MulticlassF1Score(CLASSES)], prefix="eval_")

    def evaluation_step(self, batch, stage):
        self.metrics.update(self.logits(batch[0]), batch[1])

    def on_validation_epoch_end(self):
        self.log_dict(self.metrics.compute())
        self.metrics.reset()

    on_test_epoch_end = on_validation_epoch_end


@shape("a metric in a plain dict")
class Hidden(Module):
    def __init__(self):
        super().__init__()
        self.metrics = {"val": MulticlassAccuracy(CLASSES), "test": MulticlassAccuracy(CLASSES)}

    def evaluation_step(self, batch, stage):
        self.metrics[stage].update(self(batch[0]), batch[1])


@shape("a loss in validation, a metric of probabilities in the test")
class ProbabilitiesInTest(Head):
    def __init__(self):
        super().__init__()
        self.accuracy = MulticlassAccuracy(CLASSES, average="micro")

    def test_step(self, batch, batch_idx):
        p = self.logits(batch[0]).softmax(dim=1)
        self.log("test_acc", self.accuracy(p, batch[1]))


class Predictions(Module):
    """What its test takes is the class of the largest score."""

    def test_step(self, batch, batch_idx):
        x, y = batch
        preds = self(x).argmax(dim=1)
        self.log("test_acc", (preds == y).float().mean())


@shape("a loss in validation, predicted classes in the test")
class PredictionsInTest(Predictions):
    pass


@shape("predicted classes for a metric")
class PredictionsForMetric(Module):
    def __init__(self):
        super().__init__()
        self.accuracy = MulticlassAccuracy(CLASSES)

    def evaluation_step(self, batch, stage):
        self.accuracy.update(self(batch[0]).argmax(-1), batch[1])


@shape("a function of torchmetrics alone")
class FunctionalMetric(Module):
    def evaluation_step(self, batch, stage):
        x, y = batch
        self.log(f"{stage}_acc", multiclass_accuracy(self(x).softmax(-1), y, CLASSES))


@shape("scores kept for the end of the epoch")
class Kept(Module):
    def __init__(self):
        super().__init__()
        self.kept = []

    def evaluation_step(self, batch, stage):
        x, y = batch
        self.kept.append((self(x).cpu(), y.cpu()))

    def on_validation_epoch_end(self):
        hits = sum((scores.argmax(1) == y).sum() for scores, y in self.kept)
        self.log("acc", hits / sum(len(y) for _, y in self.kept))
        self.kept.clear()

    on_test_epoch_end = on_validation_epoch_end


@shape("a functional head, predicted classes in the test", error="logits", error_in="test", or_right=True)
class HeadAndPredictions(Head):
    def test_step(self, batch, batch_idx):
        preds = self.logits(batch[0]).argmax(dim=1)
        self.log("test_acc", (preds == batch[1]).float().mean())
