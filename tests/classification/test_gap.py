import json

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from lightning_posttrain import ClassificationMetrics, GeneralizationGap
from lightning_posttrain.classification.result.gap import GapHistory, Pair
from tests import toys


def test_the_gap_is_training_minus_validation(tmp_path):
    gap = GeneralizationGap(figures=["accuracy", "log_loss"], on_error="raise")
    both = ClassificationMetrics(stages=["train", "val"], log=["accuracy", "log_loss"])
    trainer = toys.quiet([gap, both], max_epochs=3)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    for name in ("accuracy", "log_loss"):
        wanted = both.results["train"][name] - both.results["val"][name]
        assert float(trainer.callback_metrics[f"gap/{name}"]) == pytest.approx(wanted, abs=1e-6)
    pairs = gap.results["train"].history["accuracy"]
    assert [pair.epoch for pair in pairs] == [0, 1, 2]
    assert pairs[-1].train == both.results["train"]["accuracy"]
    folder = tmp_path / "posttrain" / "gap"
    assert {path.name for path in folder.iterdir()} == {"history.json", "history.png", "last.csv"}
    record = json.loads((folder / "history.json").read_text())
    assert record["history"]["accuracy"][2]["epoch"] == 2
    assert record["step"] == 11  # as Lightning logs at the end of a training epoch: twelve batches, from 0


def test_training_figures_are_those_of_the_scores_that_training_saw():
    seen = []

    class Seen(toys.Net):
        def training_step(self, batch, batch_idx):
            logits = self(batch[0])
            seen.append((logits.detach().argmax(1) == batch[1]).float())
            return nn.functional.cross_entropy(logits, batch[1])

    gap = GeneralizationGap(figures=["accuracy"], on_error="raise")
    toys.quiet(gap).fit(Seen(), toys.loader(), toys.loader())
    assert gap.results["train"].history["accuracy"][0].train == pytest.approx(float(torch.cat(seen).mean()))


def test_it_can_be_monitored():
    gap = GeneralizationGap(on_error="raise")
    stop = EarlyStopping("gap/log_loss", mode="max", patience=0, min_delta=100.0)
    trainer = toys.quiet([stop, gap], max_epochs=5)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert trainer.current_epoch == 2


def test_epochs_without_validation_have_no_gap():
    gap = GeneralizationGap(on_error="raise")
    toys.quiet(gap, max_epochs=4, check_val_every_n_epoch=2).fit(toys.Net(), toys.loader(), toys.loader())
    assert [pair.epoch for pair in gap.results["train"].history["accuracy"]] == [1, 3]


def test_a_run_that_is_resumed_keeps_its_history(tmp_path):
    def fit(epochs, path=None):
        gap = GeneralizationGap(on_error="raise")
        kept = ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False)
        trainer = toys.quiet([gap, kept], max_epochs=epochs, enable_checkpointing=True)
        trainer.fit(toys.Net(), toys.loader(), toys.loader(), ckpt_path=path)
        return gap.results["train"].history["accuracy"]

    first = fit(2)
    torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert fit(3, tmp_path / "last.ckpt")[:2] == first
    assert [pair.epoch for pair in fit(2)] == [0, 1]


def history(train, val, name="accuracy", patience=3, rows=2000):
    pairs = [Pair(i, t, v) for i, (t, v) in enumerate(zip(train, val, strict=True))]
    return GapHistory({name: tuple(pairs)}, patience, rows)


def test_a_gap_that_widens_while_validation_becomes_worse_is_said():
    result = history([0.6, 0.8, 0.9, 0.95, 0.99], [0.6, 0.75, 0.7, 0.69, 0.68])
    (alert,) = result.alerts
    assert "the model may be overfitting: validation accuracy was best in epoch 1 (0.7500) and is 0.6800 now" in alert


@pytest.mark.parametrize(
    ("train", "val", "name", "rows"),
    [
        ([0.6, 0.8, 0.9, 0.95, 0.99], [0.6, 0.7, 0.72, 0.74, 0.75], "accuracy", 2000),  # validation improves
        ([0.6, 0.8, 0.9, 0.95, 0.99], [0.6, 0.75, 0.7, 0.69, 0.68], "accuracy", 50),  # by chance, with so few rows
        ([0.6, 0.8, 0.9, 0.95, 0.99], [0.6, 0.75, 0.7, 0.75, 0.68], "accuracy", 2000),  # not all the time
        ([0.6, 0.8, 0.9], [0.6, 0.75, 0.7], "accuracy", 2000),  # not for long enough
        ([0.6, 0.8, 0.7, 0.6, 0.5], [0.6, 0.75, 0.7, 0.65, 0.6], "accuracy", 2000),  # training falls behind
        ([0.6, 0.9, 0.85, 0.84, 0.83], [0.6, 0.75, 0.72, 0.71, 0.7], "accuracy", 2000),  # both become worse
        ([0.6, 0.5, 0.4, 0.3, 0.2], [0.6, 0.55, 0.5, 0.45, 0.4], "log_loss", 2000),
        ([0.6, 0.5, 0.4, 0.3, 0.2], [0.6, 0.50, 0.51, 0.52, 0.53], "log_loss", 2000),  # hardly worse
        ([float("nan")] * 5, [float("nan")] * 5, "log_loss", 2000),
    ],
)
def test_nothing_is_said_without_need(train, val, name, rows):
    assert history(train, val, name, rows=rows).alerts == ()


def test_a_loss_that_rises_is_such_a_case_and_two_figures_make_one_sentence():
    one = history([1.0, 0.6, 0.4, 0.2, 0.1], [1.0, 0.7, 0.8, 0.9, 1.0], "log_loss")
    assert "validation log_loss was best in epoch 1" in one.alerts[0]
    both = GapHistory({**one.history, "brier": one.history["log_loss"]}, 3, 2000)
    assert len(both.alerts) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stages": ["val"]}, "`stages` is not for GeneralizationGap"),
        ({"patience": 0}, "`patience` is 0, wanted at least 1"),
    ],
)
def test_arguments_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        GeneralizationGap(**options)


def test_a_figure_that_is_not_there_raises_before_training():
    with pytest.raises(ValueError, match="`figures` has 'acc', wanted some of accuracy, balanced_accuracy"):
        toys.quiet(GeneralizationGap(figures=["acc"])).fit(toys.Net(), toys.loader(), toys.loader())
