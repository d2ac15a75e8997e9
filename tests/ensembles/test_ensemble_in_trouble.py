"""Where an ensemble cannot be had, it is said once, and the run and the module are unharmed."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from lightning_posttrain.ensembles import CheckpointEnsemble, Combination
from lightning_posttrain.ensembles.fit import EnsembleFit
from lightning_posttrain.ensembles.functional import cross_fit
from tests import toys
from tests.ensembles.test_callback import TEST, TRAIN, VAL, files_of, fitted, log_loss, logits_of, noisy, softmax

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:test. the ensemble that was chosen on validation is worse"
)
CALLS = []


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Views(toys.Net):
    """Its step takes the mean of two views."""

    def forward(self, x):
        CALLS.append(1)
        return super().forward(x)

    def step(self, batch, stage):
        x, y = batch
        logits = (self(x).softmax(1) + self(x.flip(3)).softmax(1)).log()
        loss = F.cross_entropy(logits, y)
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "logits": logits}


class Prototypes(toys.Net):
    """Its step has a functional head."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        self.prototypes = nn.Parameter(torch.randn(toys.CLASSES, 8))

    def forward(self, x):
        CALLS.append(1)
        return self.model(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(-torch.cdist(self(batch[0]), self.prototypes), batch[1])

    def step(self, batch, stage):
        x, y = batch
        loss = F.cross_entropy(-torch.cdist(self(x), self.prototypes), y)
        self.log(f"{stage}/loss", loss)
        return loss


def of_views(module, inputs):
    return (module(inputs).softmax(1) + module(inputs.flip(3)).softmax(1)).log()


def of_prototypes(module, inputs):
    return -torch.cdist(module(inputs), module.prototypes)


def heard_of(call):
    """The sentences that are said while something runs."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in found if "CheckpointEnsemble" in str(each.message)]


@pytest.mark.parametrize(("kind", "forwards"), [(Views, 2), (Prototypes, 1)])
def test_a_step_that_cannot_be_asked_again_is_asked_once(kind, forwards):
    trainer, module, ensemble = fitted(CheckpointEnsemble(), net=kind())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    CALLS.clear()
    said = heard_of(lambda: trainer.test(module, toys.loader(TEST), verbose=False))
    batches = 5
    assert len(CALLS) <= forwards * batches + 1
    assert len(said) == 1
    assert said[0].count("Pass forward_fn=") == 1
    assert "test" not in ensemble.results
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("kind", "function"), [(Views, of_views), (Prototypes, of_prototypes)])
def test_forward_fn_cures_it(kind, function):
    trainer, module, ensemble = fitted(CheckpointEnsemble(forward_fn=function, on_error="raise"), net=kind())
    trainer.test(module, toys.loader(TEST), verbose=False)
    target = TEST.tensors[1].numpy()
    for member, path in zip(ensemble.results["test"].members, files_of(ensemble), strict=True):
        other = kind()
        other.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        with torch.no_grad():
            scores = function(other.eval(), TEST.tensors[0])
        assert member.log_loss == pytest.approx(log_loss(softmax(scores.double().numpy()), target), abs=1e-6)
    for name in ensemble.fit.strategies:
        with torch.no_grad():
            found = ensemble.network(module, name)(TEST.tensors[0]).double().exp().numpy()
        assert log_loss(found, target) == pytest.approx(ensemble.results["test"][name].log_loss, abs=1e-5)


def test_files_of_another_model_in_the_folder_of_the_run_are_left_out_in_one_sentence(tmp_path):
    class Wider(toys.Net):
        def __init__(self):
            super().__init__()
            self.model[0], self.model[1] = nn.Conv2d(1, 7, 3, padding=1), nn.BatchNorm2d(7)
            self.model[5] = nn.Linear(7 * 64, toys.CLASSES)

    kept = ModelCheckpoint(dirpath=tmp_path / "kept", filename="other-{epoch}", save_top_k=-1)
    other = toys.quiet([kept], max_epochs=2, enable_checkpointing=True)
    other.fit(Wider(), toys.loader(TRAIN), toys.loader(VAL))
    ensemble = CheckpointEnsemble(on_error="raise")
    kept = ModelCheckpoint(dirpath=tmp_path / "kept", monitor="val/loss", save_top_k=2)
    trainer = toys.quiet([ensemble, kept], max_epochs=3, enable_checkpointing=True)
    said = heard_of(lambda: trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL)))
    assert len(said) == 1
    assert "leaves out 2 of 4 files that are in the folder of the run's checkpoints: other-epoch=0.ckpt" in said[0]
    assert len(ensemble.fit.members) == 2
    trainer.test(trainer.lightning_module, toys.loader(TEST), verbose=False)
    shutil.rmtree(tmp_path / "kept" / "ensemble")
    spoken = CheckpointEnsemble(members=str(tmp_path / "kept"))
    with pytest.raises(ValueError, match="it is of another width or depth"):
        toys.quiet([spoken]).test(toys.Net(), toys.loader(TEST), verbose=False)


def test_the_checkpoints_of_a_fit_before_in_the_same_folder_are_members_too(tmp_path):
    for seed in (0, 1):
        torch.manual_seed(seed)
        ensemble = CheckpointEnsemble(on_error="raise")
        kept = ModelCheckpoint(dirpath=tmp_path / "kept", monitor="val/loss", save_top_k=2)
        trainer = toys.quiet([ensemble, kept], max_epochs=3, enable_checkpointing=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL))
        target = VAL.tensors[1].numpy()
        assert len(ensemble.fit.members) == 2 * (seed + 1)
        for member, path in zip(ensemble.results["val"].members, files_of(ensemble), strict=True):
            own = softmax(logits_of(None, path, VAL).double().numpy())
            assert member.log_loss == pytest.approx(log_loss(own, target), abs=1e-6)
    names = [member.name for member in ensemble.fit.members]
    assert len(set(names)) == 4


@pytest.mark.parametrize("soups", [False, True])
def test_a_fit_that_cannot_be_written_is_kept_in_memory(tmp_path, soups):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "ensemble").write_text("in the way")
    torch.manual_seed(0)
    ensemble = CheckpointEnsemble(soups=soups)
    kept = ModelCheckpoint(dirpath=tmp_path / "kept", monitor="val/loss", save_top_k=3)
    trainer = toys.quiet([ensemble, kept], max_epochs=4, enable_checkpointing=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Checkpoint directory")
        said = heard_of(lambda: trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL)))
    assert len(said) == 1
    assert "could not write its fit" in said[0]
    trainer.test(trainer.lightning_module, toys.loader(TEST), verbose=False)
    assert ensemble.results["test"].chosen
    assert (tmp_path / "kept" / "ensemble").read_text() == "in the way"
    if soups:
        assert any("soup" in note for note in ensemble.results["test"].limits)


def test_a_folder_that_was_moved_is_read_where_it_is(tmp_path):
    _, _, ensemble = fitted(CheckpointEnsemble(on_error="raise"))
    folder = ensemble.fit.folder.parent
    shutil.move(folder, tmp_path / "elsewhere")
    other = CheckpointEnsemble(on_error="raise", members=str(tmp_path / "elsewhere"))
    toys.quiet([other]).test(toys.Net(), toys.loader(TEST), verbose=False)
    assert [member.mark for member in other.fit.members] == [member.mark for member in ensemble.fit.members]
    third = CheckpointEnsemble(on_error="raise")
    path = tmp_path / "elsewhere" / Path(ensemble.fit.members[0].file).name
    toys.quiet([third]).test(toys.Net(), toys.loader(TEST), ckpt_path=path, verbose=False)
    assert str(third.results["test"]) == str(other.results["test"])


def test_modules_are_members_in_the_same_and_in_another_process():
    nets = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = toys.Net()
        toys.quiet(max_epochs=2).fit(net, toys.loader(TRAIN), toys.loader(VAL))
        nets.append(net.eval())
    ensemble = CheckpointEnsemble(members=nets, on_error="raise", then=())
    trainer = toys.quiet([ensemble])
    trainer.validate(toys.Net(), toys.loader(VAL), verbose=False)
    trainer.test(toys.Net(), toys.loader(TEST), verbose=False)
    other = CheckpointEnsemble(members=nets, on_error="raise")
    toys.quiet([other]).test(toys.Net(), toys.loader(TEST), verbose=False)
    assert str(other.results["test"]) == str(ensemble.results["test"])
    assert other.results["test"].chosen
    target = TEST.tensors[1].numpy()
    with torch.no_grad():
        each = [softmax(net(TEST.tensors[0]).double().numpy()) for net in nets]
    assert ensemble.results["test"]["mean"].log_loss == pytest.approx(log_loss(sum(each) / 3, target), abs=1e-6)


def test_soups_of_a_validation_loader_that_shuffles_are_judged_with_the_members():
    loader = toys.loader(VAL, shuffle=True, generator=torch.Generator().manual_seed(3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your `val_dataloader`.s sampler")
        _, _, ensemble = fitted(CheckpointEnsemble(soups=True, on_error="raise"), val=loader)
    target = VAL.tensors[1].numpy()
    for member, path in zip(ensemble.results["val"].members, files_of(ensemble), strict=False):
        own = softmax(logits_of(None, path, VAL).double().numpy())
        assert member.log_loss == pytest.approx(log_loss(own, target), abs=1e-6)


def test_of_very_many_scores_a_sample_is_fitted_to(monkeypatch):
    monkeypatch.setattr(cross_fit, "FITTED", 40 * 3 * toys.CLASSES)
    monkeypatch.setattr(cross_fit, "FEWEST", 40)
    _, _, ensemble = fitted(CheckpointEnsemble(on_error="raise"))
    assert ensemble.fit.rows == 40
    assert ensemble.fit.total == 60
    assert "Fitted to 40 of 60 rows" in str(ensemble.results["val"])


def test_a_fit_comes_back_as_it_was_written(tmp_path):
    _, _, ensemble = fitted(CheckpointEnsemble(soups=True, on_error="raise"))
    ensemble.fit.write(tmp_path / "other")
    read = EnsembleFit.read(tmp_path / "other")
    assert read.folder == tmp_path / "other"
    for name in ("members", "soups", "validation", "alone", "chosen", "kept", "reason", "rows", "total", "notes"):
        assert getattr(read, name) == getattr(ensemble.fit, name)
    logp = torch.randn(9, len(read.members), toys.CLASSES).log_softmax(2).double()
    for name, how in ensemble.fit.strategies.items():
        assert isinstance(read.strategies[name], Combination)
        assert torch.equal(how(logp), read.strategies[name](logp))
    assert not list((tmp_path / "other").glob(".*"))


def test_a_step_that_fails_leaves_nothing_behind():
    class Fails(toys.Net):
        broken = False

        def test_step(self, batch, batch_idx, dataloader_idx=0):
            if self.broken and batch_idx == 2:
                raise RuntimeError("on purpose")
            return super().test_step(batch, batch_idx, dataloader_idx)

    trainer, module, ensemble = fitted(CheckpointEnsemble(on_error="raise"), net=Fails())
    module.broken = True
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.test(module, toys.loader(TEST), verbose=False)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert ensemble._run._ready is None
    module.broken = False
    toys.quiet([ensemble]).test(module, toys.loader(TEST), verbose=False)
    assert ensemble.results["test"].samples == 50


def test_a_file_that_is_cut_off_on_test_is_named():
    _, module, ensemble = fitted(CheckpointEnsemble())
    path = files_of(ensemble)[0]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read as a checkpoint"):
        toys.quiet([ensemble]).test(module, toys.loader(TEST), verbose=False)


@pytest.mark.slow
def test_members_run_through_a_compiled_module_and_in_half_precision():
    _, _, ensemble = fitted(CheckpointEnsemble(on_error="raise"))
    compiled = toys.Net()
    compiled.model = torch.compile(compiled.model, backend="eager")
    other = CheckpointEnsemble(on_error="raise", members=str(ensemble.fit.folder.parent))
    toys.quiet([other]).test(compiled, toys.loader(TEST), verbose=False)
    plain = CheckpointEnsemble(on_error="raise", members=str(ensemble.fit.folder.parent))
    toys.quiet([plain]).test(toys.Net(), toys.loader(TEST), verbose=False)
    assert str(other.results["test"]) == str(plain.results["test"])
    half = CheckpointEnsemble(on_error="raise", members=str(ensemble.fit.folder.parent))
    toys.quiet([half], precision="bf16-mixed").test(toys.Net(), toys.loader(TEST), verbose=False)
    assert half.results["test"]["mean"].log_loss == pytest.approx(plain.results["test"]["mean"].log_loss, rel=0.05)


def test_members_of_several_runs_are_found_by_a_glob(tmp_path):
    for seed in range(2):
        torch.manual_seed(seed)
        kept = ModelCheckpoint(dirpath=tmp_path / f"run{seed}" / "checkpoints", monitor="val/loss")
        trainer = toys.quiet([kept], max_epochs=2, enable_checkpointing=True)
        trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL))
    ensemble = CheckpointEnsemble(members=str(tmp_path / "run*" / "checkpoints" / "*.ckpt"), on_error="raise")
    trainer = toys.quiet([ensemble])
    trainer.validate(toys.Net(), toys.loader(VAL), verbose=False)
    trainer.test(toys.Net(), toys.loader(noisy(30, 7)), verbose=False)
    assert len(ensemble.results["test"].members) == 2
    assert len({member.name for member in ensemble.results["test"].members}) == 2


def test_a_fit_of_other_members_in_the_same_folder_is_not_taken_for_theirs(tmp_path):
    _, _, ensemble = fitted(CheckpointEnsemble(on_error="raise"))
    files = files_of(ensemble)
    two = CheckpointEnsemble(members=files[:2])
    said = heard_of(lambda: toys.quiet([two]).test(toys.Net(), toys.loader(TEST), verbose=False))
    assert len(said) == 1
    assert "is of other members than those that were said" in said[0]
    assert len(two.results["test"].members) == 2
    trainer = toys.quiet([two])
    trainer.validate(toys.Net(), toys.loader(VAL), verbose=False)
    trainer.test(toys.Net(), toys.loader(TEST), verbose=False)
    assert two.results["test"].chosen


@pytest.mark.parametrize("extra", ["pass", "soups"])
def test_what_is_done_at_the_end_of_a_fit_leaves_no_trace_in_it(tmp_path, extra):
    """Weights, buffers, modes, random numbers and what was logged, also where data are read once more."""
    found = []
    for number in range(2):
        torch.manual_seed(0)
        module = toys.Net()
        callbacks = [CheckpointEnsemble(soups=extra == "soups", on_error="raise")] if number else []
        kept = ModelCheckpoint(dirpath=tmp_path / str(number), every_n_train_steps=3, save_top_k=-1)
        trainer = toys.quiet([*callbacks, kept], max_epochs=2, enable_checkpointing=True)
        train = toys.loader(TRAIN, shuffle=True)
        trainer.fit(module, train, toys.loader(VAL))
        modes = [part.training for part in module.modules()]
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if "ensemble" not in name}
        found.append((module.state_dict(), torch.get_rng_state(), modes, logged))
    assert all(torch.equal(value, found[1][0][name]) for name, value in found[0][0].items())
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][2:] == found[1][2:]


def test_a_disk_that_is_full_costs_the_file_and_nothing_else(monkeypatch):
    write = torch.save

    def full(saved, path):
        write(saved, path)
        if "fit.pt" in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_posttrain.ensembles.fit.torch.save", full)
    torch.manual_seed(0)
    ensemble, kept = CheckpointEnsemble(), ModelCheckpoint(monitor="val/loss", save_top_k=2)
    trainer = toys.quiet([ensemble, kept], max_epochs=3, enable_checkpointing=True)
    said = heard_of(lambda: trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL)))
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert not list(Path().rglob("*fit.pt*"))
    trainer.test(trainer.lightning_module, toys.loader(TEST), verbose=False)
    assert ensemble.results["test"].chosen


def test_soups_by_validate_go_without_training_data():
    _, _, ensemble = fitted(CheckpointEnsemble(on_error="raise"))
    other = CheckpointEnsemble(members=files_of(ensemble), soups=True, on_error="raise")
    trainer = toys.quiet([other])
    trainer.validate(toys.Net(), toys.loader(VAL), verbose=False)
    trainer.test(toys.Net(), toys.loader(TEST), verbose=False)
    assert other.results["test"].chosen
    assert "uniform_soup" in other.fit.alone or any("soup" in note for note in other.fit.notes)


@pytest.mark.filterwarnings("ignore:Trying to infer the `batch_size`")
def test_members_of_seeds_are_members(tmp_path):
    from lightning_posttrain.ensembles import Seeds
    from tests.ensembles import digits

    fits = Seeds(build=digits.Net, members=3, progress=False, monitor="val/loss").fit(
        digits.train(), digits.val(), folder=tmp_path / "run", **digits.FAST
    )
    ensemble = CheckpointEnsemble(members=fits.members, on_error="raise", soups=True)
    trainer = toys.quiet([ensemble])
    trainer.validate(digits.Net(), digits.val(), verbose=False)
    assert len(ensemble.results["val"].members) == 3
    assert len({member.name for member in ensemble.results["val"].members}) == 3
