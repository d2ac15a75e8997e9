"""A step with two targets is two readings: each callback reports both, by a copy for each."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from lightning_posttrain import (
    Calibration,
    ClassificationMetrics,
    ConfusionMatrix,
    GeneralizationGap,
    HardExampleMining,
    HardExampleSampler,
    LabelErrors,
    posttrain_suite,
)
from tests import toys


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows=40):
        self.x, self.species = toys.images(rows).tensors
        self.age = (self.x.mean((1, 2, 3)) > self.x.mean()).long() + (self.species > 1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"image": self.x[i], "species": self.species[i], "age": self.age[i]}


class Heads(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        self.heads = nn.ModuleDict({"species": nn.Linear(16, 4), "age": nn.Linear(16, 3)})

    def forward(self, x):
        features = self.model(x)
        return {name: head(features) for name, head in self.heads.items()}

    def step(self, batch, stage):
        scores = self(batch["image"])
        return sum(F.cross_entropy(scores[name], batch[name]) for name in scores)

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")


def right(net, rows):
    with torch.no_grad():
        scores = net.eval()(rows.x)
    return {name: int((scores[name].argmax(1) == getattr(rows, name)).sum()) for name in scores}


def test_the_whole_suite_reports_both(tmp_path):
    rows, net = Rows(), Heads()
    callbacks = [*posttrain_suite(on_error="raise"), LabelErrors(on_error="raise"), GeneralizationGap(on_error="raise")]
    trainer = toys.quiet(callbacks, max_epochs=2)
    trainer.fit(net, toys.loader(rows), toys.loader(rows))
    for name, hits in right(net, rows).items():
        assert callbacks[1].results[f"val/{name}"].counts.trace() == hits
        assert float(trainer.callback_metrics[f"val/{name}/accuracy"]) == pytest.approx(hits / 40)
        assert f"gap/{name}/accuracy" in trainer.callback_metrics
        assert (tmp_path / "posttrain" / "val" / name / "confusion_matrix.png").exists()
    assert "val" not in callbacks[1].results
    trainer.test(net, toys.loader(rows), verbose=False)
    assert {"test/species", "test/age"} <= set(callbacks[1].results)


@pytest.mark.parametrize("name", ["species", "age"])
def test_one_of_them_is_chosen_by_its_name(name):
    matrix, net = ConfusionMatrix(target=name, on_error="raise"), Heads()
    toys.quiet(matrix).validate(net, toys.loader(Rows()), verbose=False)
    assert matrix.results["val"].counts.trace() == right(net, Rows())[name]


def test_a_name_that_is_no_target_raises_and_names_those_that_are():
    with pytest.raises(ValueError, match=r"`target` is 'colour'.*'species'.*'age'"):
        toys.quiet(ConfusionMatrix(target="colour")).validate(Heads(), toys.loader(Rows()), verbose=False)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_what_was_fitted_for_each_target_comes_back_from_a_checkpoint(tmp_path):
    rows, net = Rows(), Heads()
    keep = ModelCheckpoint(tmp_path, save_last=True)
    first = Calibration(on_error="raise")
    toys.quiet([first, keep], enable_checkpointing=True).fit(net, toys.loader(rows), toys.loader(rows))
    again = Calibration(on_error="raise")
    toys.quiet(again).test(Heads(), toys.loader(rows), ckpt_path=keep.last_model_path, verbose=False)
    assert set(again.targets) == {"species", "age"}
    for name, part in again.targets.items():
        assert part.fitted is not None
        assert part.fitted == first.targets[name].fitted


def test_of_hard_examples_that_are_mined_there_is_one_target():
    rows = Rows()
    loader = toys.loader(rows, sampler=HardExampleSampler(rows))
    with pytest.raises(ValueError, match=r"HardExampleMining is of one\. Pass target='species'"):
        toys.quiet(HardExampleMining()).fit(Heads(), loader, toys.loader(rows))
    mining = HardExampleMining(target="species", on_error="raise")  # the advice, followed
    toys.quiet(mining).fit(Heads(), loader, toys.loader(rows))


def test_the_figures_of_both_are_those_of_one_alone():
    rows, net = Rows(), Heads()
    both = ClassificationMetrics(resamples=0, on_error="raise")
    alone = ClassificationMetrics(resamples=0, target="age", name="alone", on_error="raise")
    toys.quiet([both, alone]).validate(net, toys.loader(rows), verbose=False)
    assert both.results["val/age"].overall == alone.results["val"].overall


def test_every_picture_names_the_target_that_it_is_of(written):
    rows, callbacks = Rows(), posttrain_suite(on_error="raise")
    toys.quiet(callbacks, max_epochs=2).fit(Heads(), toys.loader(rows), toys.loader(rows))
    titles = [text for text, _ in written if text.startswith("val")]
    assert titles
    assert all(title.startswith(("val/species · ", "val/age · ")) for title in titles)
    assert any("over the epochs" in title for title in titles)
