"""Checkpoints as Lightning's own callbacks write them: each is a member with the figures of a run of its own."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging

from lightning_posttrain import ClassificationMetrics
from lightning_posttrain.ensembles import CheckpointEnsemble
from lightning_posttrain.ensembles.members.state import read_members
from tests import toys
from tests.ensembles.test_callback import TEST, TRAIN, VAL, log_loss, noisy, softmax

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:test. the ensemble that was chosen on validation is worse",
    "ignore:You have overridden",
    "ignore:Swapping scheduler",
    "ignore:Your `val_dataloader`.s sampler has shuffling enabled",
)


def weights_of(ensemble, member):
    """Of a member, by its name, read anew."""
    fit = ensemble.fit
    found = [state for state in read_members(Path(fit.folder, member.file), toys.Net()) if state.mark == member.mark]
    return found[0].tensors


def by_hand(tensors, data):
    net = toys.Net()
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})
    net.eval()
    with torch.no_grad():
        logits = torch.cat([net(data.tensors[0][i : i + 10]) for i in range(0, len(data), 10)])
    return softmax(logits.double().numpy())


def assert_figures(ensemble, key, data):
    """Each member has the figures of its weights, and the mean those of the mean by hand."""
    target, report = data.tensors[1].numpy(), ensemble.results[key]
    each = [by_hand(weights_of(ensemble, member), data) for member in ensemble.fit.members]
    for member, own in zip(report.members, each, strict=False):
        assert member.log_loss == pytest.approx(log_loss(own, target), abs=1e-6), member.name
    if key != "val":
        mean = sum(each) / len(each)
        assert report["mean"].log_loss == pytest.approx(log_loss(mean, target), abs=1e-6)


def run(kept, *, extra=(), before=False, epochs=4, train=TRAIN, val=None, fit=None, **options):
    torch.manual_seed(0)
    ensemble, module = CheckpointEnsemble(on_error="raise"), toys.Net()
    callbacks = [*extra, ensemble, kept] if before else [ensemble, *extra, kept]
    options = {"max_epochs": epochs, "enable_checkpointing": True, **options}
    trainer = toys.quiet(callbacks, **options)
    trainer.fit(module, toys.loader(train), toys.loader(VAL) if val is None else val, **(fit or {}))
    return trainer, module, ensemble


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_members_of_an_exponential_average_are_judged_as_they_are(before, weights_only):
    average = EMAWeightAveraging(decay=0.7)
    kept = ModelCheckpoint(monitor="val/loss", save_top_k=3, save_weights_only=weights_only)
    trainer, module, ensemble = run(kept, extra=[average], before=before)
    kinds = [member.kind for member in ensemble.fit.members]
    assert kinds == (["raw"] * 3 if weights_only else ["ema", "raw"] * 3)
    live = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trainer.test(module, toys.loader(TEST), verbose=False)
    assert all(torch.equal(live[name], tensor) for name, tensor in module.state_dict().items())
    assert_figures(ensemble, "val", VAL)
    assert_figures(ensemble, "test", TEST)


def test_the_running_average_of_stochastic_weight_averaging_is_a_member():
    average = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2, annealing_epochs=1)
    kept = ModelCheckpoint(monitor="val/loss", save_top_k=-1)
    trainer, module, ensemble = run(kept, extra=[average], epochs=5)
    assert "swa" in [member.kind for member in ensemble.fit.members]
    trainer.test(module, toys.loader(TEST), verbose=False)
    assert_figures(ensemble, "val", VAL)
    assert_figures(ensemble, "test", TEST)


KEPT = {
    "link": partial(ModelCheckpoint, monitor="val/loss", save_top_k=2, save_last="link"),
    "last": partial(ModelCheckpoint, monitor="val/loss", save_top_k=2, save_last=True),
    "steps": partial(ModelCheckpoint, every_n_train_steps=3, save_top_k=-1),
    "all": partial(ModelCheckpoint, monitor="val/loss", save_top_k=-1),
    "plain": ModelCheckpoint,
    "figure in its name": partial(ModelCheckpoint, monitor="val/loss", save_top_k=2, filename="{epoch}-{val/loss:.2f}"),
}


@pytest.mark.parametrize("kind", KEPT)
def test_members_have_their_own_figures_however_they_were_saved(kind):
    trainer, module, ensemble = run(KEPT[kind]())
    assert_figures(ensemble, "val", VAL)
    trainer.test(module, toys.loader(TEST), verbose=False)
    if len(ensemble.fit.members) > 1:
        assert_figures(ensemble, "test", TEST)
    marks = [member.mark for member in ensemble.fit.members]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize(
    "options", [{"val_check_interval": 0.5}, {"check_val_every_n_epoch": 2}, {"limit_val_batches": 4}]
)
def test_validations_at_other_times_are_those_of_the_members(options):
    _, _, ensemble = run(ModelCheckpoint(monitor="val/loss", save_top_k=3), **options)
    rows = 40 if "limit_val_batches" in options else 60
    assert ensemble.fit.rows == ensemble.fit.total == rows
    data = torch.utils.data.TensorDataset(*(part[:rows] for part in VAL.tensors))
    assert_figures(ensemble, "val", data)


def test_a_validation_loader_that_shuffles_is_read_once_more_for_all():
    generator = torch.Generator().manual_seed(3)
    loader = toys.loader(VAL, shuffle=True, generator=generator)
    _, _, ensemble = run(ModelCheckpoint(monitor="val/loss", save_top_k=3), val=loader)
    assert_figures(ensemble, "val", VAL)


def test_the_first_of_several_validation_loaders_is_fitted_to_and_each_of_test_is_judged():
    loaders = [toys.loader(VAL), toys.loader(noisy(20, 5))]
    kept = ModelCheckpoint(monitor="val/loss/dataloader_idx_0", save_top_k=3)
    trainer, module, ensemble = run(kept, val=loaders)
    assert ensemble.fit.rows == 60
    assert_figures(ensemble, "val", VAL)
    second = noisy(30, 6)
    trainer.test(module, [toys.loader(TEST), toys.loader(second)], verbose=False)
    assert_figures(ensemble, "test", TEST)
    assert_figures(ensemble, "test/dataloader_1", second)


def test_a_fit_that_goes_on_has_the_members_of_before_as_well(tmp_path):
    def kept():
        return ModelCheckpoint(dirpath=tmp_path / "kept", save_top_k=-1, monitor="val/loss", save_last=True)

    _, _, first = run(kept(), epochs=2)
    _, _, ensemble = run(kept(), epochs=4, fit={"ckpt_path": "last"})
    assert len(first.fit.members) == 2
    assert [member.name for member in ensemble.fit.members] == [f"epoch {i}" for i in range(4)]
    assert_figures(ensemble, "val", VAL)


def test_a_separate_validate_and_test_of_each_file_gives_the_same_figures():
    _, _, ensemble = run(ModelCheckpoint(monitor="val/loss", save_top_k=3))
    for member, known in zip(ensemble.results["val"].members, ensemble.fit.members, strict=True):
        metrics = ClassificationMetrics(on_error="raise")
        path = Path(ensemble.fit.folder, known.file)
        toys.quiet([metrics]).validate(toys.Net(), toys.loader(VAL), ckpt_path=path, verbose=False)
        own = metrics.results["val"].overall
        assert (member.log_loss, member.accuracy) == (pytest.approx(own["log_loss"], abs=1e-7), own["accuracy"])
