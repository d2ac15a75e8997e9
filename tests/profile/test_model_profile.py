"""What a model costs and where its run's time went, through a Trainer."""

import csv
import json
import math
import time
import warnings

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import ClassificationMetrics, ModelProfile
from lightning_posttrain.profile import ProfileReport
from lightning_posttrain.profile.calls import heard_calls
from lightning_posttrain.profile.rows import axes_of, rows_of
from tests import toys

QUICK = {"batch_sizes": [1, 4], "seconds": 0.05}
# the convolution: 6 maps of 8 × 8 from 1 × 3 × 3; the linear layer: 4 classes from 6 × 64
CNN_FLOPS = 2 * 6 * 64 * 9 + 2 * 6 * 64 * 4
CNN_PARAMETERS = (6 * 9 + 6) + 2 * 6 + (6 * 64 * 4 + 4)


def fitted(module, callback, *, epochs=1, data=None, val=True, **options):
    data = toys.images(40) if data is None else data
    trainer = toys.quiet([ClassificationMetrics(), callback], max_epochs=epochs, **options)
    loaders = (DataLoader(data, 10), DataLoader(data, 10)) if val else (DataLoader(data, 10),)
    trainer.fit(module, *loaders)
    return trainer


class Any_(LightningModule):
    """A classifier whose step is a function of the module and a batch that gives logits and targets."""

    def __init__(self, parts, step):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.step = step

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(*self.step(self, batch))

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", F.cross_entropy(*self.step(self, batch)))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def test_a_fit_and_a_test_tell_what_the_model_costs():
    profile = ModelProfile(**QUICK, on_error="raise")
    trainer = fitted(toys.Net(), profile)
    trainer.test(trainer.lightning_module, toys.loader(), verbose=False)
    assert set(profile.results) == {"fit", "test"}
    for found in profile.results.values():
        assert found.flops == CNN_FLOPS
        assert found.parameters == CNN_PARAMETERS
        assert found.layers == 6
        assert found.architecture.kinds == dict.fromkeys(
            ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "Flatten", "Linear"], 1
        )
        assert set(found.latency) == {1, 4}
        assert 0 < found.latency[1].median < 0.05
        assert found.alerts == ()
        assert found.memory.made_in_all > 0
        assert found.memory.kept_for_backward > 0
        assert "CPU" in found.conditions
    assert trainer.callback_metrics["test/profile/flops"] == CNN_FLOPS
    assert profile.results["fit"].training_seconds == profile.results["test"].training_seconds > 0


CASES = {
    "a part of the module": (
        {"net": nn.Linear(6, 4)}, lambda m, b: (m.net(b[0]), b[1]), (torch.rand(40, 6),), 2 * 6 * 4,
    ),
    "an encoder and a decoder": (
        {"encoder": nn.Linear(6, 5), "decoder": nn.Linear(5, 4)},
        lambda m, b: (m.decoder(F.relu(m.encoder(b[0]))), b[1]), (torch.rand(40, 6),), 2 * 6 * 5 + 2 * 5 * 4,
    ),
    "several inputs": (
        {"net": nn.Bilinear(3, 5, 4)}, lambda m, b: (m.net(b[0], input2=b[1]), b[2]),
        (torch.rand(40, 3), torch.rand(40, 5)), None,
    ),
    "time before rows": (
        {"net": nn.LSTM(3, 5), "head": nn.Linear(5, 4)},
        lambda m, b: (m.head(m.net(b[0].transpose(0, 1))[0][-1]), b[1]), (torch.rand(40, 7, 3),),
        7 * 2 * 4 * 5 * (3 + 5) + 2 * 5 * 4,
    ),
    "frames as rows": (
        {"net": nn.Linear(6, 5), "head": nn.Linear(5, 4)},
        lambda m, b: (m.head(m.net(b[0].flatten(0, 1)).unflatten(0, (-1, 3)).mean(1)), b[1]), (torch.rand(40, 3, 6),),
        3 * 2 * 6 * 5 + 2 * 5 * 4,
    ),
    "tokens": (
        {"net": nn.Sequential(nn.Embedding(9, 5), nn.Flatten(), nn.Linear(5 * 7, 4))},
        lambda m, b: (m.net(b[0]), b[1]), (torch.randint(9, (40, 7)),), 2 * 5 * 7 * 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_networks_that_a_step_calls_are_counted_whatever_they_are_given(case):
    parts, step, inputs, flops = CASES[case]
    profile = ModelProfile(**QUICK, on_error="raise")
    module = Any_(parts, step)
    data = TensorDataset(*inputs, torch.arange(40) % 4)
    trainer = toys.quiet([profile])
    trainer.fit(module, DataLoader(data, 10), DataLoader(data, 10))
    found = profile.results["fit"]
    assert found.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert found.reasons == {}
    if flops is not None:
        assert found.flops == flops
    assert sum(row.flops for row in found.architecture.rows) == found.flops * found.architecture.batch
    assert set(found.latency) == {1, 4}, "the rows of each input are known"


@pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`")
def test_without_validation_a_step_of_training_is_heard():
    profile = ModelProfile(**QUICK, on_error="raise")
    fitted(toys.Net(), profile, val=False)
    assert profile.results["fit"].flops == CNN_FLOPS
    assert profile.results["fit"].time.validation == 0


def test_a_step_that_calls_no_network_has_parameters_alone():
    class Bare(toys.Net):
        def logits(self, x):
            return x.flatten(1) @ self.weight

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(64, toys.CLASSES))

    profile = ModelProfile(**QUICK, on_error="raise")
    toys.quiet([profile]).fit(Bare(), toys.loader(), toys.loader())
    found = profile.results["fit"]
    assert math.isnan(found.flops)
    assert found.layers is None
    assert found.parameters == CNN_PARAMETERS + 64 * toys.CLASSES
    assert "A forward: not measured, as the step called no network" in str(found)


def test_a_fast_dev_run_times_nothing_and_writes_nothing(tmp_path):
    profile = ModelProfile(on_error="raise")
    fitted(toys.Net(), profile, fast_dev_run=True, default_root_dir=tmp_path)
    assert profile.results["fit"].flops == CNN_FLOPS
    assert profile.results["fit"].latency == {}
    assert not list(tmp_path.rglob("profile*"))


def test_seconds_are_those_of_the_run_and_each_callback_has_its_share():
    class Slow(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                time.sleep(0.05)

    profile, slow = ModelProfile(**QUICK, on_error="raise"), Slow()
    trainer = toys.quiet([ClassificationMetrics(), slow, profile], max_epochs=2)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    found = profile.results["fit"]
    named = {row.name: row for row in found.spent}
    assert named["Slow"].seconds == pytest.approx(2 * 0.05, rel=0.5)
    assert {"ClassificationMetrics", "ModelProfile", "training step", "shared reading of batches"} <= set(named)
    parts = [row for row in found.spent if row.kind not in ("apart", "background")]
    assert sum(row.seconds for row in parts) == pytest.approx(found.wall)
    assert sum(share for name, share in found.shares.items() if "run)" not in name) == pytest.approx(1)
    assert named["Slow"].share == found.shares["Slow"]


def test_a_profile_comes_back_from_its_record(tmp_path):
    profile = ModelProfile(**QUICK, target={"val/accuracy": 0.1, "val/f1": 0.5}, on_error="raise")
    with pytest.warns(UserWarning, match="'val/f1' was not logged"):
        trainer = fitted(toys.Net(), profile, logger=CSVLogger(tmp_path))
    record = json.loads((tmp_path / "lightning_logs/version_0/posttrain/fit/profile.json").read_text())
    found = ProfileReport.from_dict(record)
    assert found.to_dict() == profile.results["fit"].to_dict()
    assert str(found) == str(profile.results["fit"])
    assert record["parameters"] == CNN_PARAMETERS
    folder = tmp_path / "lightning_logs/version_0/posttrain/fit/profile"
    rows = list(csv.DictReader((folder / "architecture_table.csv").read_text().splitlines()))
    assert rows[0]["input"] == "N × 1 × 8 × 8"
    assert sum(float(row["FLOPs a row"]) for row in rows[:-1]) == float(rows[-1]["FLOPs a row"]) == CNN_FLOPS
    assert sum(int(row["parameters"]) for row in rows[:-1]) == int(rows[-1]["parameters"]) == CNN_PARAMETERS
    assert "Conv2d" in (folder / "architecture.txt").read_text()
    assert (folder.parent / "profile.png").stat().st_size > 1000
    del trainer


def test_time_to_a_target_is_that_of_the_validation_that_met_it():
    profile = ModelProfile(**QUICK, target={"val/accuracy": 0.0, "val/loss": -1.0}, on_error="raise")
    fitted(toys.Net(), profile, epochs=2)
    found = profile.results["fit"]
    assert 0 < found.seconds_to["val/accuracy"] < found.training_seconds
    assert found.time.reached["val/accuracy"].epoch == 0
    assert math.isnan(found.seconds_to["val/loss"]), "a loss is to fall"
    assert any("'val/loss' did not come to -1" in note for note in found.notes)
    assert set(found.time.shares["val/accuracy"]) == {90, 95, 99}


def test_time_to_a_target_goes_on_in_a_run_that_is_resumed(tmp_path):
    first = ModelProfile(**QUICK, target={"val/accuracy": 0.0}, on_error="raise")
    trainer = fitted(toys.Net(), first)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    before = first.results["fit"]
    second = ModelProfile(**QUICK, target={"val/accuracy": 0.0}, on_error="raise")
    data = toys.images(40)
    later = toys.quiet([ClassificationMetrics(), second], max_epochs=2)
    later.fit(toys.Net(), DataLoader(data, 10), DataLoader(data, 10), ckpt_path=tmp_path / "last.ckpt")
    found = second.results["fit"]
    assert found.seconds_to == before.seconds_to
    assert found.training_seconds > before.training_seconds
    assert [one.epoch for one in found.time.epochs] == [0, 1]


def test_parameters_that_nothing_uses_are_said():
    class Idle(toys.Net):
        def __init__(self, *, trained):
            super().__init__()
            self.spare, self.trained = nn.Linear(10, 10), trained

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + (self.spare(torch.ones(1, 10)).sum() * 0 if self.trained else 0)

    profile = ModelProfile(**QUICK, on_error="raise")
    with pytest.warns(UserWarning, match=r"110 parameters are used by nothing: spare\.weight, spare\.bias"):
        fitted(Idle(trained=False), profile)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted(Idle(trained=True), profile)
    assert profile.results["fit"].alerts == (), "an auxiliary head works in training alone"


def test_a_module_in_parts_is_counted_and_not_run(monkeypatch):
    module = toys.Net()
    for parameter in module.parameters():
        parameter._local_shard = None
    profile = ModelProfile(**QUICK, on_error="raise")
    fitted(module, profile)
    found = profile.results["fit"]
    assert found.parameters == CNN_PARAMETERS
    assert found.architecture is None
    assert "each device has a part of the module alone" in found.reasons["a forward"]


def test_a_forward_that_fails_outside_of_its_step_leaves_the_rest_of_the_profile():
    class Bound(toys.Net):
        def forward(self, x):
            assert self.busy, "called outside of a step"
            return super().forward(x)

        def step(self, batch, stage):
            self.busy = True
            try:
                return super().step(batch, stage)
            finally:
                self.busy = False

        def training_step(self, batch, batch_idx):
            self.busy = True
            return super().training_step(batch, batch_idx)

    profile = ModelProfile(**QUICK, on_error="raise")
    trainer = toys.quiet([profile])
    trainer.validate(Bound(), toys.loader(), verbose=False)
    found = profile.results["val"]
    assert found.reasons["architecture"] == "AssertionError: called outside of a step"
    assert found.parameters == CNN_PARAMETERS
    assert found.wall > 0


def test_weights_and_random_numbers_are_those_of_a_run_without():
    def outcome(callbacks):
        seed_everything(1, verbose=False)
        module = toys.Net()
        trainer = toys.quiet(callbacks, max_epochs=2)
        trainer.fit(module, toys.loader(), toys.loader())
        return [value.clone() for value in module.state_dict().values()], torch.rand(3)

    with_it, without = outcome([ModelProfile(**QUICK)]), outcome([])
    assert all(torch.equal(a, b) for a, b in zip(with_it[0], without[0], strict=True))
    assert torch.equal(with_it[1], without[1])


def test_options_are_checked():
    with pytest.raises(ValueError, match="`modes` is 'maximum', wanted 'min' or 'max'"):
        ModelProfile(modes={"val/accuracy": "maximum"})
    with pytest.raises(ValueError, match="`batch_sizes` is 0, wanted at least 1"):
        ModelProfile(batch_sizes=[0])
    with pytest.raises(ValueError, match=r"`seconds` is -1, wanted at least 0"):
        ModelProfile(seconds=-1)
    with pytest.raises(ValueError, match=r"`seconds` is inf, wanted a finite number"):
        ModelProfile(seconds=math.inf)
    with pytest.raises(ValueError, match=r"`batch_sizes` is 8, wanted a list of numbers, as \[1, 8\]"):
        ModelProfile(batch_sizes=8)
    with pytest.raises(ValueError, match=r"`batch_sizes` has 1\.5, wanted whole numbers"):
        ModelProfile(batch_sizes=[1.5])
    with pytest.raises(ValueError, match=r"`target` is nan, wanted a finite number"):
        ModelProfile(target={"val/accuracy": math.nan})
    with pytest.raises(ValueError, match=r"`target` is 'val/accuracy', wanted a dict by the names of metrics"):
        ModelProfile(target="val/accuracy")
    with pytest.raises(ValueError, match=r"`modes` is 'max', wanted a dict by the names of metrics"):
        ModelProfile(modes="max")


def test_rows_of_a_call_are_found_where_they_stand():
    assert rows_of({(0,): torch.zeros(7, 3), (1,): torch.zeros(7)}, 10) == 7
    assert rows_of({}, 10) == 1
    assert axes_of({(0,): torch.zeros(5, 5)}, 4) == {}
    with pytest.raises(ValueError, match="called no network"):
        heard_calls([], 4)
