"""Tasks beyond one class a row, from a module's step to figures that equal scikit-learn's."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, posttrain_suite
from tests import reference, toys


class Any(toys.Net):
    """A network and a loss; the step says nothing of what it does."""

    def __init__(self, model, loss, by="self(x)"):
        super().__init__(call=by)
        self.model, self.loss = model, loss

    def training_step(self, batch, batch_idx):
        return self.loss(self.logits(batch[0]), batch[1])

    def step(self, batch, stage):
        self.log(f"{stage}/loss", self.loss(self.logits(batch[0]), batch[1]))


def evaluated(module, data, **options):
    callbacks = posttrain_suite(on_error="raise", **options)[:2]
    trainer = toys.quiet(callbacks)
    trainer.test(module, toys.loader(data, batch_size=4), verbose=False)
    return [callback.results["test"] for callback in callbacks]


def labelled(rows=37, labels=5):
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(rows, labels, generator=generator) < 0.3).float()
    return TensorDataset(torch.rand(rows, 12, generator=generator) + target.repeat(1, 3)[:, :12], target)


@pytest.mark.parametrize("by", ["self(x)", "self.model(x)"])
def test_multilabel(by):
    torch.manual_seed(0)
    module, data = Any(nn.Linear(12, 5), F.binary_cross_entropy_with_logits, by), labelled()
    report, confusion = evaluated(module, data, task="multilabel", class_names=[*"abcde"])
    with torch.no_grad():
        scores = module.model(data.tensors[0])
    actual, predicted = data.tensors[1].long().numpy(), (scores > 0).long().numpy()
    reference.assert_equal(report, reference.labels_report(actual, predicted))
    assert confusion.counts.sum().item() == 37 * 5
    assert report["auroc_macro"] == pytest.approx(np.nanmean(reference.areas(actual, scores)[0]), abs=1e-3)
    assert "accuracy" not in report.intervals
    assert report.intervals["f1_macro"][0] < report["f1_macro"] < report.intervals["f1_macro"][1]


def test_multilabel_probabilities_give_the_same():
    torch.manual_seed(0)
    net, data = nn.Linear(12, 5), labelled()
    plain, _ = evaluated(Any(net, F.binary_cross_entropy_with_logits), data, task="multilabel")
    squashed = Any(nn.Sequential(net, nn.Sigmoid()), F.binary_cross_entropy)
    found, _ = evaluated(squashed, data, task="multilabel", scores="probabilities")
    for name, value in plain.overall.items():
        assert found[name] == pytest.approx(value, abs=1e-4), name


def test_labels_that_are_not_known_are_left_out():
    torch.manual_seed(0)
    data = labelled()
    hidden = data.tensors[1].clone()
    hidden[::3, 1] = -1
    module = Any(nn.Linear(12, 5), lambda scores, target: scores.sum())
    report, _ = evaluated(module, TensorDataset(data.tensors[0], hidden), task="multilabel", ignore_index=-1)
    assert report.support.tolist() == [int((hidden[:, k] == 1).sum()) for k in range(5)]
    with torch.no_grad():
        predicted = (module.model(data.tensors[0]) > 0).float()
    known = hidden != -1
    assert report["hamming_loss"] == pytest.approx(float((predicted != hidden)[known].float().mean()))
    assert report["accuracy"] == pytest.approx(float(((predicted == hidden) | ~known).all(1).float().mean()))


def masks(rows=9, classes=3):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(rows, 2, 8, 6, generator=generator)
    target = (pictures[:, 0] * classes).long()
    target[:, 0] = 255
    return TensorDataset(pictures, target)


@pytest.mark.parametrize("by", ["self(x)", "self.model(x)"])
@pytest.mark.parametrize("deep", [False, True])
def test_segmentation_counts_every_pixel(by, deep):
    torch.manual_seed(0)
    head = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)] if deep else [nn.Conv2d(2, 3, 1)]
    data = masks()
    module = Any(nn.Sequential(*head), lambda scores, target: F.cross_entropy(scores, target, ignore_index=255), by)
    report, confusion = evaluated(module, data, ignore_index=255)
    with torch.no_grad():
        predicted = module.model(data.tensors[0]).argmax(1)
    kept = data.tensors[1] != 255
    expected = reference.report(data.tensors[1][kept].numpy(), predicted[kept].numpy(), 3)
    assert confusion.counts.tolist() == expected["counts"].tolist()
    reference.assert_equal(report, expected)
    assert report.intervals == {}  # pixels of an image are no samples


@pytest.mark.parametrize("shape", [(9, 1, 8, 6), (9, 8, 6)])
def test_binary_segmentation(shape):
    torch.manual_seed(0)
    pictures = torch.rand(9, 2, 8, 6)
    data = TensorDataset(pictures, (pictures[:, :1] > 0.5).float().reshape(shape))
    net = nn.Conv2d(2, 1, 1)
    module = Any(net, lambda scores, target: F.binary_cross_entropy_with_logits(scores.reshape(target.shape), target))
    report, confusion = evaluated(module, data, task="binary")
    with torch.no_grad():
        predicted = (net(pictures) > 0).long().flatten().numpy()
    expected = reference.report(data.tensors[1].long().flatten().numpy(), predicted, 2)
    assert confusion.counts.tolist() == expected["counts"].tolist()
    assert report["f1"] == pytest.approx(expected["f1"][1])


def test_labels_of_pixels():
    torch.manual_seed(0)
    pictures = torch.rand(5, 2, 8, 6)
    data = TensorDataset(pictures, (pictures > 0.5).float())
    _, confusion = evaluated(Any(nn.Conv2d(2, 2, 1), F.binary_cross_entropy_with_logits), data, task="multilabel")
    assert confusion.counts.sum().item() == 5 * 2 * 8 * 6
    assert confusion.rows == 5 * 8 * 6


def test_one_hot_targets_are_no_segmentation():
    data = toys.images()
    hot = TensorDataset(data.tensors[0], F.one_hot(data.tensors[1], toys.CLASSES))
    module = Any(toys.Net().model, lambda scores, target: scores.sum())
    with pytest.raises(ValueError, match=r"`target` has shape \(4, 4\), a class for each position.*argmax\(1\)"):
        evaluated(module, hot)


def test_the_suite_leaves_out_what_it_cannot_explain_and_says_so():
    module = Any(nn.Conv2d(2, 3, 1), lambda scores, target: scores.sum())
    suite = posttrain_suite(ignore_index=255)
    with pytest.warns(UserWarning, match=r"SaliencyMaps draws nothing.*explain=lambda output, inputs"):
        toys.quiet(suite).test(module, toys.loader(masks()), verbose=False)
    assert "test" not in suite[-1].results


def test_training_is_read_where_it_is_asked_for():
    metrics, matrix = (
        ClassificationMetrics(stages=["train", "val"], on_error="raise"),
        ConfusionMatrix(stages=["train"]),
    )
    trainer = toys.quiet([metrics, matrix], max_epochs=2)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert set(metrics.results) == {"train", "val"}
    assert set(matrix.results) == {"train"}
    assert matrix.results["train"].counts.sum() == 37
    assert {"train/accuracy", "val/accuracy"} <= set(trainer.callback_metrics)


def test_training_without_validation_is_read_too():
    metrics = ClassificationMetrics(stages=["train"], on_error="raise")
    toys.quiet(metrics, limit_val_batches=0).fit(toys.Net(), toys.loader(), toys.loader())
    assert metrics.results["train"].support.sum() == 37


def test_training_is_read_through_validations_in_the_middle_of_an_epoch():
    matrix = ConfusionMatrix(stages=["train", "val"], on_error="raise")
    toys.quiet(matrix, val_check_interval=0.25).fit(toys.Net(), toys.loader(), toys.loader())
    assert matrix.results["train"].counts.sum() == 37
    assert matrix.results["val"].counts.sum() == 37


def trained(step, **options):
    """The training confusion of a module whose weights stay, and what it should be."""

    class Module(toys.Net):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(12, 3)

        def training_step(self, batch, batch_idx):
            return step(self, batch[0], batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    torch.manual_seed(0)
    module = Module()
    x = torch.randn(40, 12)
    data = TensorDataset(x, module.model(x).argmax(1))
    matrix = ConfusionMatrix(stages=["train", "val"], on_error="raise")
    trainer = toys.quiet(matrix, **options)
    trainer.fit(module, toys.loader(data, 8), toys.loader(data, 8))
    return matrix.results["train"].counts


def test_a_choice_made_in_validation_is_not_taken_over_to_training():
    def twice(self, x, y):
        noisy, logits = self(torch.randn_like(x)), self(x)
        return (logits.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]).mean() + 0 * noisy.sum()

    with pytest.raises(ValueError, match="cannot tell which output holds the class scores"):
        trained(twice)


def test_in_training_too_the_scores_are_those_of_the_loss():
    counts = trained(lambda self, x, y: F.cross_entropy(self(x), y) + 0 * self(torch.randn_like(x)).sum())
    assert counts.diag().sum() == counts.sum() == 40


def test_what_runs_once_more_for_gradients_is_not_heard():
    from torch.utils.checkpoint import checkpoint

    def saved(self, x, y):
        return F.cross_entropy(checkpoint(self.model, x, use_reentrant=False), y)

    assert trained(saved).diagonal().sum() == 40


def test_a_step_with_its_own_optimisation_is_read():
    class Manual(toys.Net):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]))
            optimizer.step()

    matrix = ConfusionMatrix(stages=["train"], on_error="raise")
    toys.quiet(matrix).fit(Manual(), toys.loader(), toys.loader())
    assert matrix.results["train"].counts.sum() == 37


@pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before.*")
def test_the_rest_of_an_epoch_that_a_checkpoint_was_taken_in_is_not_reported(tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    from lightning_posttrain import GeneralizationGap

    kept = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=3)
    toys.quiet([GeneralizationGap(), kept], max_epochs=2, enable_checkpointing=True).fit(
        toys.Net(), toys.loader(), toys.loader()
    )
    gap = GeneralizationGap(on_error="raise")
    path = tmp_path / "step=3.ckpt"
    trainer = toys.quiet([gap, kept], max_epochs=3, enable_checkpointing=True)
    with pytest.warns(UserWarning, match="figures of training are not known for the epoch in which the checkpoint was"):
        trainer.fit(toys.Net(), toys.loader(), toys.loader(), ckpt_path=path)
    assert [pair.epoch for pair in gap.results["train"].history["accuracy"]] == [1, 2]


@pytest.mark.parametrize("key", ["preds", "y_hat"])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_hard_predictions_of_the_step_are_no_scores(key, task):
    labels = 1 if task == "binary" else 5

    class Hard(Any):
        def step(self, batch, stage):
            scores = self(batch[0])
            return {key: (scores > 0).float(), "target": batch[1]}

    torch.manual_seed(0)
    net, data = nn.Linear(12, labels), labelled()
    data = TensorDataset(data.tensors[0], data.tensors[1][:, :labels])
    found, _ = evaluated(Hard(net, F.binary_cross_entropy_with_logits), data, task=task)
    plain, _ = evaluated(Any(net, F.binary_cross_entropy_with_logits), data, task=task)
    assert found.overall == pytest.approx(plain.overall, nan_ok=True)


def test_sequences_of_any_length_are_read():
    module = Any(nn.Conv1d(2, 3, 1), lambda scores, target: scores.sum())
    batches = [(torch.randn(2, 2, t), torch.randint(3, (2, t))) for t in (4, 5, 1)]
    matrix = ConfusionMatrix(on_error="raise")
    toys.quiet(matrix).test(module, torch.utils.data.DataLoader(batches, batch_size=None), verbose=False)
    assert matrix.results["test"].counts.sum() == 2 * 10


def test_scores_whose_classes_could_stand_last_are_doubted():
    module = Any(nn.Conv1d(2, 3, 1), lambda scores, target: scores.sum())
    data = TensorDataset(torch.randn(4, 2, 3), torch.randint(3, (4, 3)))
    with pytest.warns(UserWarning, match="If they stand in the last, pass scores_fn="):
        toys.quiet(ConfusionMatrix()).test(module, toys.loader(data), verbose=False)


def test_masks_of_two_rows_are_not_taken_for_two_scores():
    net = nn.Conv2d(2, 1, 1)
    pictures = torch.rand(5, 2, 2, 6)
    data = TensorDataset(pictures, (pictures[:, 0] > 0.5).float())

    class Squeezed(Any):
        def logits(self, x):
            return self(x)

        def forward(self, x):
            return self.model(x)[:, 0]

    module = Squeezed(net, F.binary_cross_entropy_with_logits)
    _, confusion = evaluated(module, data, task="binary")
    assert confusion.counts.sum() == 5 * 2 * 6


def test_labels_that_are_no_numbers_are_counted_apart_in_any_batch():
    data = labelled()
    data.tensors[1][20, 0] = float("nan")
    data.tensors[1][21, 1] = 0.6
    module = Any(nn.Linear(12, 5), lambda scores, target: scores.sum())
    with pytest.warns(UserWarning, match="2 labels left out: their target is no class"):
        _, confusion = evaluated(module, data, task="multilabel")
    assert confusion.out_of_range == 2
