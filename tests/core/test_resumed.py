"""A run that goes on from a checkpoint of a validation's end has the figures of training that it would have had."""

import warnings

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_posttrain import (
    ClassificationMetrics,
    ConfusionMatrix,
    GeneralizationGap,
    HardExampleMining,
    HardExamples,
    HardExampleSampler,
    LabelErrors,
)
from lightning_posttrain.core.stream import open_epoch
from tests import toys

pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint that ended before the epoch ended", "ignore:The dirpath has changed"
)
DATA = toys.images(48)
LOST = "figures of training are not known for the epoch in which the checkpoint was written"


class Plain(toys.Net):
    """No dropout, so that a resumed run goes the same way."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES))


def callbacks():
    return [
        GeneralizationGap(on_error="raise"),
        LabelErrors(stages=["train", "val"], on_error="raise"),
        ConfusionMatrix(stages=["train"], on_error="raise"),
        ClassificationMetrics(stages=["train", "val"], exact=True, on_error="raise"),
        HardExampleMining(on_error="raise"),
    ]


class History(Callback):
    """What each epoch of training reported."""

    def __init__(self, listed):
        self.listed, self.reports = listed, {}

    def on_train_epoch_end(self, trainer, pl_module):
        self.reports[trainer.current_epoch] = [
            one.results["train"].to_dict() for one in self.listed if "train" in one.results
        ]


def fit(path, epochs, *, resume=None, listed=None, save=None, **options):
    torch.manual_seed(0)
    listed = callbacks() if listed is None else listed
    kept = ModelCheckpoint(
        path, filename="{epoch}-{step}", save_top_k=-1, **(save or {"save_on_train_epoch_end": False})
    )
    seen = History(listed)
    mined = any(isinstance(one, HardExampleMining) for one in listed)
    order = {"sampler": HardExampleSampler(DATA)} if mined else {}
    trainer = toys.quiet([*listed, seen, kept], max_epochs=epochs, enable_checkpointing=True, **options)
    trainer.fit(Plain(), DataLoader(DATA, batch_size=8, **order), toys.loader(), ckpt_path=resume)
    return listed, seen.reports


def test_every_report_of_training_is_that_of_a_run_that_was_not_interrupted(tmp_path):
    whole, reports = fit(tmp_path / "whole", 3)
    fit(tmp_path / "cut", 1)
    (checkpoint,) = (tmp_path / "cut").glob("*.ckpt")
    torch.load(checkpoint, weights_only=True)
    resumed, again = fit(tmp_path / "resumed", 3, resume=checkpoint)
    assert again == reports
    assert sorted(again) == [0, 1, 2]
    for key in ("train", "val"):
        before, after = (listed[1].results[key] for listed in (whole, resumed))
        for name in ("index", "label", "predicted", "loss", "learned", "forgotten", "wrong", "seen"):
            assert torch.equal(getattr(before, name), getattr(after, name)), name
        assert torch.equal(before.errors.score, after.errors.score)
        assert before.past == after.past
    assert torch.equal(
        whole[1]._histories.known["train"].table.probabilities(),
        resumed[1]._histories.known["train"].table.probabilities(),
    )
    assert whole[0].results["train"].history == resumed[0].results["train"].history
    assert [pair.epoch for pair in resumed[0].results["train"].history["accuracy"]] == [0, 1, 2]


def test_so_it_is_with_several_validations_in_an_epoch(tmp_path):
    _, reports = fit(tmp_path / "whole", 2, val_check_interval=0.5)
    last = max((tmp_path / "whole").glob("epoch=0*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    assert last.name == "epoch=0-step=6.ckpt"
    _, again = fit(tmp_path / "resumed", 2, resume=last, val_check_interval=0.5)
    assert again == reports


def cut(path, epochs=2, listed=None, **options):
    """The last checkpoint of a run that is broken off there."""
    fit(path, epochs, listed=listed, **options)
    return max(path.glob("*.ckpt"), key=lambda each: int(each.stem.split("step=")[1]))


def said_of_loss(path, resume, listed, words="not known for the epoch", epochs=3, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(path, epochs, resume=resume, listed=listed, **options)
    return [str(one.message) for one in said if words in str(one.message)]


def epochs(gap):
    return [pair.epoch for pair in gap.results["train"].history["accuracy"]]


def test_of_a_checkpoint_within_an_epoch_it_says_once_that_its_figures_are_not_known(tmp_path):
    listed = [GeneralizationGap(), ConfusionMatrix(stages=["train"])]
    within = cut(tmp_path / "cut", save={"every_n_train_steps": 10}, listed=[GeneralizationGap()])
    assert within.stem == "epoch=1-step=10"
    (said,) = said_of_loss(tmp_path / "resumed", within, listed)
    assert said.startswith(f"lightning_posttrain: {LOST}")
    assert epochs(listed[0]) == [0, 2]


def test_so_it_is_of_a_checkpoint_of_another_validation_than_the_last_of_an_epoch(tmp_path):
    cut(tmp_path / "cut", listed=[GeneralizationGap()], val_check_interval=0.5)
    listed = [GeneralizationGap()]
    within = tmp_path / "cut" / "epoch=1-step=9.ckpt"
    assert len(said_of_loss(tmp_path / "resumed", within, listed, val_check_interval=0.5)) == 1
    assert epochs(listed[0]) == [0, 2]


def test_so_it_is_of_a_checkpoint_after_the_last_batch_whose_epoch_lightning_ends_without_a_word(tmp_path):
    listed = [GeneralizationGap()]
    last = cut(tmp_path / "cut", save={"every_n_train_steps": 12}, listed=[GeneralizationGap()])
    assert len(said_of_loss(tmp_path / "resumed", last, listed)) == 1
    assert epochs(listed[0]) == [0, 2]


def test_so_it_is_of_more_than_a_checkpoint_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(open_epoch, "LARGEST", 10)
    last = cut(tmp_path / "cut", listed=[GeneralizationGap()])
    listed = [GeneralizationGap()]
    assert len(said_of_loss(tmp_path / "resumed", last, listed)) == 1
    assert epochs(listed[0]) == [0, 2]


def test_at_the_end_of_an_epoch_nothing_is_said_and_nothing_more_is_saved(tmp_path):
    last = cut(tmp_path / "cut", save={"save_on_train_epoch_end": True}, listed=[GeneralizationGap()])
    assert open_epoch.KEY not in torch.load(last, weights_only=True)
    listed = [GeneralizationGap()]
    assert said_of_loss(tmp_path / "resumed", last, listed) == []
    assert epochs(listed[0]) == [0, 1, 2]


BROKEN = {
    "no dict": lambda state: 3,
    "no parts": lambda state: {"train": {"epoch": 1}},
    "parts of no form": lambda state: {"train": {"epoch": 1, "parts": [3]}},
    "no states": lambda state: {
        "train": {**state["train"], "parts": [{**one, "states": {}} for one in state["train"]["parts"]]}
    },
    "missing": lambda state: None,
}


@pytest.mark.parametrize("form", BROKEN)
def test_what_is_broken_is_said_and_costs_no_run(tmp_path, form):
    last = cut(tmp_path / "cut", listed=[GeneralizationGap()])
    held = torch.load(last, weights_only=True)
    held[open_epoch.KEY] = BROKEN[form](held[open_epoch.KEY])
    torch.save(held, last)
    listed = [GeneralizationGap()]
    assert len(said_of_loss(tmp_path / "resumed", last, listed)) == 1
    assert epochs(listed[0]) == [0, 2]


def test_what_looks_at_single_samples_says_that_it_has_no_report_of_that_epoch(tmp_path):
    def listed():
        return [HardExamples(stages=["train"]), ConfusionMatrix(stages=["train"])]

    last, both = cut(tmp_path / "cut", listed=listed()), listed()
    (said,) = said_of_loss(tmp_path / "resumed", last, both, "HardExamples has no report of training", epochs=2)
    assert "the samples that it had seen are not in it" in said
    assert both[0].results == {}
    assert int(both[1].results["train"].counts.sum()) == len(DATA)


def test_other_callbacks_than_before_have_what_there_is(tmp_path):
    def matrix(**options):
        return ConfusionMatrix(stages=["train"], on_error="raise", **options)

    last = cut(tmp_path / "cut", listed=[matrix(name="more"), matrix()])
    fewer = [matrix(), HardExampleMining()]
    assert said_of_loss(tmp_path / "resumed", last, fewer, epochs=2) == []
    assert int(fewer[0].results["train"].counts.sum()) == len(DATA)
    more = [matrix(), ClassificationMetrics(stages=["train"])]
    assert len(said_of_loss(tmp_path / "resumed", last, more, epochs=2)) == 1
    assert more[1].results == {}
