import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, FeatureMaps
from lightning_posttrain.feature_maps import FeatureMapsResult
from tests import toys
from tests.feature_maps import networks

STAGES = ["model.act1", "model.layer1", "model.layer2", "model.layer3"]


class Module(LightningModule):
    """Any network and loss, without a word on classes."""

    def __init__(self, model, loss=F.cross_entropy):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("own", self.loss(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)


def pictures(rows=24, size=32):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(rows, 1, size, size, generator=generator), torch.arange(rows) % 4)


def seen(module, data=None, how="validate", **options):
    callback = FeatureMaps(**{"on_error": "raise", **options})
    trainer = toys.quiet(callback)
    loader = toys.loader(data or pictures())
    trainer.fit(module, loader, loader) if how == "fit" else getattr(trainer, how)(module, loader, verbose=False)
    return callback.results.get("test" if how == "test" else "val")


def names(result):
    return [stage.name for stage in result.stages]


@pytest.mark.parametrize("how", ["fit", "validate", "test"])
def test_every_stage_is_there_in_every_kind_of_run(how):
    result = seen(Module(networks.ResNet()), how=how)
    assert names(result) == STAGES
    assert [stage.shape for stage in result.stages] == [(8, 32, 32), (8, 16, 16), (12, 8, 8), (16, 4, 4)]
    assert result.samples == tuple(range(16))
    assert result.notes == ()


def test_maps_are_those_that_the_layer_gives():
    module, data = Module(networks.ResNet()), pictures()
    result = seen(module, data, drawn=2)
    stage, net = result["model.layer2"], module.model.eval()
    with torch.no_grad():
        x = net.maxpool(net.act1(net.bn1(net.conv1(data.tensors[0][:16]))))
        maps = net.layer2(net.layer1(x))
    torch.testing.assert_close(stage.maps, maps[:2, list(stage.channels)])
    torch.testing.assert_close(stage.energy, maps[:2].square().mean(1).sqrt())
    assert stage.peak == pytest.approx(float(stage.energy.max()))
    spread = maps.double().var(0, correction=0).flatten(1).mean(1)
    assert list(stage.channels) == spread.argsort(descending=True)[:8].tolist()
    covariance = torch.cov(maps.double().movedim(1, 0).flatten(1), correction=0)
    shares = torch.linalg.eigvalsh(covariance).clamp(min=0)
    shares = (shares / shares.sum()).numpy()
    assert stage.effective_rank == pytest.approx(np.exp(-sum(p * np.log(p) for p in shares if p > 0)), rel=1e-4)
    assert stage.dead == pytest.approx(float((maps == 0).movedim(1, 0).flatten(1).all(1).double().mean()), abs=1e-12)


def test_a_layer_whose_output_is_changed_in_place_is_shown_as_it_was():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 4)

        def forward(self, x):
            return self.head(self.act(self.conv(x)).mean((2, 3)))

    stage = seen(Module(Net()), layers=["model.conv"]).stages[0]
    assert stage.signed
    assert float(stage.maps.min()) < 0


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_the_size_of_batches_changes_nothing(batch):
    module, data = Module(networks.ResNet()), pictures()
    callback, whole = FeatureMaps(on_error="raise"), seen(module, data)
    toys.quiet(callback).validate(module, toys.loader(data, batch), verbose=False)
    for ours, theirs in zip(callback.results["val"].stages, whole.stages, strict=True):
        assert ours.channels == theirs.channels
        assert ours.effective_rank == pytest.approx(theirs.effective_rank, rel=1e-4)
        torch.testing.assert_close(ours.colors, theirs.colors, rtol=1e-3, atol=1e-3)
        assert len(ours.maps) == 3


def test_weights_and_random_numbers_are_bit_for_bit_as_without():
    def trained(callbacks):
        seed_everything(3, verbose=False)
        model = nn.Sequential(networks.ResNet(), nn.Dropout(0.5))
        module = Module(model)
        toys.quiet(callbacks, max_epochs=2).fit(module, toys.loader(pictures(), shuffle=True), toys.loader(pictures()))
        return [*module.state_dict().values(), torch.rand(3)]

    plain, watched = trained([]), trained([FeatureMaps(on_error="raise")])
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("asked", ["full", "trainer"])
def test_it_works_under_lower_precision(precision, asked):
    callback = FeatureMaps(on_error="raise", precision=asked)
    loader = toys.loader(pictures())
    toys.quiet(callback, precision=precision).fit(Module(networks.ResNet()), loader, loader)
    assert names(callback.results["val"]) == STAGES


def test_it_works_with_gradients_off_for_good():
    with torch.no_grad():
        assert names(seen(Module(networks.ResNet()))) == STAGES


def test_a_forward_of_several_arguments_is_called_as_the_user_says():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = networks.ResNet()

        def forward(self, x, factor):
            return self.net(x * factor)

    class Two(Module):
        def forward(self, x, factor):
            return self.model(x, factor)

        def validation_step(self, batch, batch_idx):
            self(batch[0], 2.0)

    result = seen(Two(Scaled()), forward_fn=lambda module, inputs: module(inputs, 2.0))
    assert names(result) == [name.replace("model.", "model.net.") for name in STAGES]
    with pytest.warns(UserWarning, match=r"FeatureMaps could not explain the samples: TypeError.*Pass forward_fn"):
        assert seen(Two(Scaled()), on_error="warn") is None


def test_a_module_without_a_forward_is_called_by_its_one_network():
    class Bare(LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.loss = networks.ResNet(), nn.CrossEntropyLoss()

        def validation_step(self, batch, batch_idx):
            self.loss(self.net(batch[0]), batch[1])

    assert names(seen(Bare())) == [name.replace("model.", "net.") for name in STAGES]

    class Two(Bare):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="no `forward`, and 2 parts with parameters"):
        seen(Two())


def test_an_autoencoder_needs_no_classes():
    coder = nn.Sequential(networks.block(1, 4, 2), networks.block(4, 6, 2), nn.Upsample(scale_factor=4))
    module = Module(nn.Sequential(coder, nn.Conv2d(6, 1, 1)), loss=F.mse_loss)
    x = pictures().tensors[0]
    assert names(seen(module, TensorDataset(x, x))) == ["model.0.0", "model.0.1", "model.0.2"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of the validation step
def test_tokens_are_drawn_by_position_where_tensors_would_be_nested():
    tokens = torch.randint(1, 12, (20, 6), generator=torch.Generator().manual_seed(0))
    tokens[:10, 4:] = 0
    words = ["", *"abcdefghijk"]
    result = seen(Module(networks.Words()), TensorDataset(tokens, torch.arange(20) % 4), words=words)
    assert result.inputs == "tokens"
    assert [stage.shape for stage in result.stages] == [(16, 6)] * 4
    assert result.words[0][4:] == ("", "")


def test_a_series_and_a_spectrogram_have_their_stages():
    target = torch.arange(20) % 4
    series = seen(Module(networks.Series()), TensorDataset(torch.rand(20, 2, 64), target), names=["up", "down"])
    assert (series.inputs, series.names) == ("series", ("up", "down"))
    assert [stage.shape for stage in series.stages] == [(6, 64), (8, 32), (10, 16)]
    sound = seen(Module(networks.ResNet()), TensorDataset(torch.rand(20, 1, 32, 64), target), kind="spectrogram")
    assert sound["model.layer3"].shape == (16, 4, 8)


def test_positions_name_the_samples():
    result = seen(Module(networks.ResNet()), samples=[7, 3], drawn=1)
    assert result.samples == (7, 3)
    torch.testing.assert_close(result.shown[0, ..., 0], pictures().tensors[0][7, 0])


def test_samples_and_channels_keep_their_places_over_the_epochs(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    callback, kept = FeatureMaps(on_error="raise", pictures_every=1, log="*"), []

    class Watch(Module):
        def on_validation_end(self):
            if not self.trainer.sanity_checking:
                kept.append(callback.results["val"])

    loader = toys.loader(pictures())
    trainer = toys.quiet(callback, max_epochs=3, logger=logger)
    trainer.fit(Watch(networks.ResNet()), toys.loader(pictures(), shuffle=True), loader)
    assert len(kept) == 3
    for before, after in pairwise(kept):
        assert before.samples == after.samples
        for old, new in zip(before.stages, after.stages, strict=True):
            stay = set(old.channels) & set(new.channels)
            assert [c for c in old.channels if c in stay] == [c for c in new.channels if c in stay]
            assert all(old.channels.index(c) == new.channels.index(c) for c in stay)
    logger.save()
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    assert len(found.Images("val/feature_maps")) == 3
    assert len(found.Scalars("val/feature_maps/3_model.layer3/effective_rank")) == 3


def test_figures_have_names_that_loggers_hold_and_reach_monitors():
    callback = FeatureMaps(on_error="raise")
    trainer, loader = toys.quiet(callback), toys.loader(pictures())
    trainer.fit(Module(networks.ResNet()), loader, loader)
    figures = {name for name in trainer.callback_metrics if "feature_maps" in name}
    assert figures == {
        f"val/feature_maps/{place}_{name}/{figure}"
        for place, name in enumerate(STAGES)
        for figure in ("dead", "effective_rank", "border")
    }
    assert all(re.fullmatch(r"[-/_.\w]+", name) for name in figures)


def test_it_waits_and_draws_the_last_epoch_in_any_case(tmp_path):
    callback = FeatureMaps(on_error="raise", every_n_epochs=5)
    trainer, loader = toys.quiet(callback, max_epochs=2), toys.loader(pictures())
    trainer.fit(Module(networks.ResNet()), loader, loader)
    assert names(callback.results["val"]) == STAGES
    record = json.loads((tmp_path / "posttrain" / "val" / "feature_maps.json").read_text())
    assert record["epoch"] == 1
    assert Path(tmp_path / "posttrain" / "val" / "feature_maps.png").exists()


def test_it_stands_beside_callbacks_that_read_classes():
    callbacks = [ClassificationMetrics(on_error="raise"), FeatureMaps(on_error="raise")]
    toys.quiet(callbacks).validate(Module(networks.ResNet()), toys.loader(pictures()), verbose=False)
    assert all(set(callback.results) == {"val"} for callback in callbacks)


def test_a_result_comes_back_from_what_it_wrote_and_prints_as_a_table():
    result = seen(Module(networks.ResNet()))
    state = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    back = FeatureMapsResult.from_dict(state)
    assert back.to_dict() == result.to_dict()
    assert str(back) == str(result)
    assert str(result).splitlines()[2].split()[:3] == ["model.layer1", "Sequential", "8"]
    assert back.scalars() == result.scalars()
    with pytest.raises(KeyError, match=r"wanted one of model\.act1"):
        result["layer9"]
