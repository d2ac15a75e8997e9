"""Checkpoints of a run as an ensemble: fitted at the end of the fit, judged in one pass over the test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, HardExamples, SaliencyMaps
from lightning_posttrain.ensembles import CheckpointEnsemble
from lightning_posttrain.ensembles.fit import EnsembleFit
from tests import toys

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:test. the ensemble that was chosen on validation is worse"
)


def noisy(rows, seed):
    """Pictures that are not told apart without errors."""
    pictures, target = toys.images(rows, seed=seed).tensors
    return TensorDataset(
        pictures + 0.5 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed)), target
    )


TRAIN, VAL, TEST = noisy(80, 0), noisy(60, 1), noisy(50, 2)


def fitted(ensemble=None, *, epochs=4, net=None, extra=(), train=None, val=None, keep=3, **trainer):
    torch.manual_seed(0)
    module = net or toys.Net()
    ensemble = ensemble or CheckpointEnsemble(on_error="raise")
    kept = ModelCheckpoint(monitor="val/loss", save_top_k=keep)
    runner = toys.quiet([ensemble, *extra, kept], max_epochs=epochs, enable_checkpointing=True, **trainer)
    runner.fit(module, train or toys.loader(TRAIN), val or toys.loader(VAL))
    return runner, module, ensemble


def logits_of(module, file, data):
    """Of a checkpoint, by hand."""
    other = toys.Net()
    other.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    other.eval()
    with torch.no_grad():
        return torch.cat([other(data.tensors[0][i : i + 10]) for i in range(0, len(data), 10)])


def files_of(ensemble):
    return [Path(ensemble.fit.folder, member.file) for member in ensemble.fit.members]


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def log_loss(probabilities, target):
    return float(-np.log(probabilities[np.arange(len(target)), target]).mean())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        trainer, module, ensemble = fitted()
        live = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        trainer.test(module, toys.loader(TEST), verbose=False)
        assert all(torch.equal(live[name], tensor) for name, tensor in module.state_dict().items())
        yield trainer, module, ensemble


def test_members_are_the_checkpoints_of_the_run(run):
    _, _, ensemble = run
    report = ensemble.results["val"]
    assert len(report.members) == len(ensemble.fit.members) == 3
    assert {path.name for path in files_of(ensemble)} == {
        path.name for path in files_of(ensemble)[0].parent.glob("*.ckpt")
    }
    assert all(member.kind == "raw" and member.name.startswith("epoch ") for member in report.members)


def test_scores_of_validation_are_those_that_the_fit_has_given(run):
    _, module, ensemble = run
    target = VAL.tensors[1].numpy()
    for member, path in zip(ensemble.results["val"].members, files_of(ensemble), strict=True):
        own = softmax(logits_of(module, path, VAL).double().numpy())
        assert member.log_loss == pytest.approx(log_loss(own, target), abs=1e-6)
        assert member.accuracy == pytest.approx(float((own.argmax(1) == target).mean()))


def test_every_strategy_on_test_is_what_is_worked_out_by_hand_from_each_member_alone(run):
    _, module, ensemble = run
    target, report = TEST.tensors[1].numpy(), ensemble.results["test"]
    each = np.stack([softmax(logits_of(module, path, TEST).double().numpy()) for path in files_of(ensemble)], 1)
    for name, how in ensemble.fit.strategies.items():
        weights = how.weights.numpy()
        if how.how == "probabilities":
            mixed = np.log(np.einsum("nkc,k->nc", each, weights))
        else:
            mixed = np.einsum("nkc,k->nc", np.log(each), weights)
        found = softmax(mixed / how.temperature)
        assert report[name].log_loss == pytest.approx(log_loss(found, target), abs=1e-6), name
        assert report[name].accuracy == pytest.approx(float((found.argmax(1) == target).mean())), name
    mean, best = each.mean(1), each[:, ensemble.fit.strategies["best"].used[0]]
    apart = -np.log(mean[np.arange(50), target]) + np.log(best[np.arange(50), target])
    assert report["mean"].loss.value == pytest.approx(apart.mean(), abs=1e-6)
    half = 1.959964 * apart.std(ddof=1) / np.sqrt(50)
    assert report["mean"].loss.high - report["mean"].loss.value == pytest.approx(half, abs=1e-5)
    total = -(mean * np.log(mean)).sum(1).mean()
    assert report.diversity.entropy == pytest.approx(total, abs=1e-6)
    wrong = (each.argmax(2) != target[:, None]).astype(float)
    assert wrong.any(0).all()
    assert report.diversity.error_correlation[0, 1] == pytest.approx(np.corrcoef(wrong.T)[0, 1], abs=1e-6)


def test_members_in_one_pass_have_the_figures_of_a_test_of_their_own(run):
    _, _, ensemble = run
    for member, path in zip(ensemble.results["test"].members, files_of(ensemble), strict=True):
        metrics = ClassificationMetrics(on_error="raise")
        toys.quiet([metrics]).test(toys.Net(), toys.loader(TEST), ckpt_path=path, verbose=False)
        own = metrics.results["test"].overall
        assert (member.log_loss, member.accuracy, member.ece) == (own["log_loss"], own["accuracy"], own["ece"])


def test_nothing_is_fitted_on_test_whose_labels_may_be_any(run, tmp_path):
    trainer, module, ensemble = run
    before = ensemble.fit.to_state()
    shuffled = TensorDataset(TEST.tensors[0], TEST.tensors[1].flip(0))
    other = ensemble.results["test"]
    trainer.test(module, toys.loader(shuffled), verbose=False)
    after = ensemble.fit.to_state()
    ensemble.results["test"] = other
    assert torch.equal(_flat(before), _flat(after))
    assert {k: v for k, v in before.items() if k != "strategies"} == {
        k: v for k, v in after.items() if k != "strategies"
    }


def _flat(state):
    tensors = [value for each in state["strategies"].values() for value in each.values()]
    return torch.cat([torch.as_tensor(v, dtype=torch.float64).reshape(-1) for v in tensors if not isinstance(v, str)])


def test_another_process_finds_what_was_fitted_beside_the_checkpoint_that_is_tested(run):
    _, _, ensemble = run
    other = CheckpointEnsemble(on_error="raise")
    toys.quiet([other]).test(toys.Net(), toys.loader(TEST), ckpt_path=files_of(ensemble)[0], verbose=False)
    assert torch.equal(_flat(other.fit.to_state()), _flat(ensemble.fit.to_state()))
    assert str(other.results["test"]) == str(ensemble.results["test"])


def test_the_ensemble_is_a_module_that_gives_what_was_reported(run, tmp_path):
    from lightning_posttrain.ensembles import EnsembleNetwork

    _, module, ensemble = run
    for name in ensemble.fit.strategies:
        network = ensemble.network(module, name)
        with torch.no_grad():
            found = network(TEST.tensors[0]).double().exp().numpy()
        wanted = ensemble.results["test"][name].log_loss
        assert log_loss(found, TEST.tensors[1].numpy()) == pytest.approx(wanted, abs=1e-5)
    network.save(tmp_path / "ensemble.pt")
    with torch.no_grad():
        again = EnsembleNetwork.load(tmp_path / "ensemble.pt", module.get_submodule(ensemble.fit.entry))(
            TEST.tensors[0]
        )
        assert torch.equal(again, network(TEST.tensors[0]))


def test_training_is_bitwise_what_it_is_without(tmp_path):
    runs = []
    for callbacks in ([], [CheckpointEnsemble(on_error="raise")]):
        torch.manual_seed(0)
        module = toys.Net()
        kept = ModelCheckpoint(monitor="val/loss", save_top_k=2, dirpath=tmp_path / str(len(runs)))
        trainer = toys.quiet([*callbacks, kept], max_epochs=3, enable_checkpointing=True)
        trainer.fit(module, toys.loader(shuffle=True), toys.loader(VAL))
        runs.append((module.state_dict(), torch.get_rng_state()))
    assert all(torch.equal(value, runs[1][0][name]) for name, value in runs[0][0].items())
    assert torch.equal(runs[0][1], runs[1][1])


def test_callbacks_behind_it_read_the_scores_of_the_ensemble():
    hard, matrix = HardExamples(on_error="raise"), ConfusionMatrix(on_error="raise")
    ensemble = CheckpointEnsemble(then=[hard, matrix], strategies=["mean"], on_error="raise")
    trainer, module, _ = fitted(ensemble)
    trainer.test(module, toys.loader(TEST), verbose=False)
    shipped = ensemble.results["test"].used
    right = matrix.results["test"].counts.diagonal().sum() / 50
    assert float(right) == pytest.approx(shipped.accuracy)
    assert [group.name for group in hard.results["test"].groups][-1] == "disagreement"
    each = np.stack([softmax(logits_of(module, path, TEST).double().numpy()) for path in files_of(ensemble)], 1)
    mean = each.mean(1)
    apart = -(mean * np.log(mean)).sum(1) + (each * np.log(each)).sum(2).mean(1)
    assert hard.results["test"].groups[-1].examples[0].index == int(apart.argmax())


def test_what_asks_the_model_itself_cannot_stand_behind_it():
    with pytest.raises(ValueError, match="`then` has a SaliencyMaps, wanted callbacks that read class scores"):
        CheckpointEnsemble(then=[SaliencyMaps()])


def test_a_fit_without_checkpoints_says_what_to_do():
    ensemble = CheckpointEnsemble()
    trainer = toys.quiet([ensemble], max_epochs=1, enable_checkpointing=False)
    with pytest.warns(UserWarning, match=r"no checkpoints to combine. Pass ModelCheckpoint\(save_top_k=5"):
        trainer.fit(toys.Net(), toys.loader(), toys.loader(VAL))
    with pytest.warns(UserWarning, match="no checkpoints to combine"):
        trainer.test(trainer.lightning_module, toys.loader(TEST), verbose=False)
    assert ensemble.results == {}


def test_a_fit_without_validation_says_so_and_test_reports_plain_means():
    ensemble = CheckpointEnsemble()
    torch.manual_seed(0)
    kept = ModelCheckpoint(save_top_k=-1, every_n_epochs=1)
    trainer = toys.quiet([ensemble, kept], max_epochs=2, enable_checkpointing=True)
    with (
        pytest.warns(UserWarning, match="there was no validation in this fit"),
        pytest.warns(UserWarning, match="You defined a `validation_step` but have no"),
    ):
        trainer.fit(toys.Net(), toys.loader())
    trainer.test(trainer.lightning_module, toys.loader(TEST), verbose=False)
    report = ensemble.results["test"]
    assert [each.name for each in report.strategies] == ["best", "mean", "mean_logits"]
    assert report.words == "nothing was fitted on validation; means need no fit"


def test_said_members_that_are_not_there_end_the_run_before_anything_is_done():
    ensemble = CheckpointEnsemble(members="nowhere/*.ckpt")
    with pytest.raises(ValueError, match="there is no checkpoint at nowhere"):
        toys.quiet([ensemble]).test(toys.Net(), toys.loader(TEST), verbose=False)


def test_a_member_that_was_overwritten_is_noticed(tmp_path):
    trainer, module, ensemble = fitted()
    path = files_of(ensemble)[0]
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["model.0.weight"] += 1
    torch.save(saved, path)
    with pytest.raises(ValueError, match="has other weights than when the ensemble was fitted to it"):
        trainer.test(module, toys.loader(TEST), verbose=False)


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path):
    _, _, ensemble = fitted()
    path = Path(ensemble.fit.folder, "fit.pt")
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="is no fit of an ensemble, and is not overwritten"):
        ensemble.fit.write(path.parent)
    with pytest.raises(ValueError, match="cannot be read"):
        EnsembleFit.read(path.parent)
    assert path.read_text() == "mine"


def test_many_checkpoints_are_cut_to_those_of_the_lowest_log_loss():
    _, _, ensemble = fitted(CheckpointEnsemble(most=2, on_error="raise"), keep=-1)
    losses = sorted(member.log_loss for member in ensemble.results["val"].members)
    _, _, other = fitted(CheckpointEnsemble(on_error="raise"), keep=-1)
    assert losses == sorted(member.log_loss for member in other.results["val"].members)[:2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategies": ["vote"]}, "`strategies` is 'vote', wanted some of"),
        ({"most": 1}, "`most` is 1, wanted at least 2"),
        ({"folds": 1}, "`folds` is 1, wanted at least 2"),
        ({"on": "gpu"}, "`on` is 'gpu', wanted 'auto' or 'device' or 'cpu'"),
    ],
)
def test_wrong_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        CheckpointEnsemble(**options)


def test_soups_are_tested_in_another_process_and_are_no_members_of_the_folder():
    _, _, ensemble = fitted(CheckpointEnsemble(soups=True, on_error="raise"))
    assert Path(ensemble.fit.folder, "uniform_soup.ckpt").exists()
    other = CheckpointEnsemble(on_error="raise")
    toys.quiet([other]).test(toys.Net(), toys.loader(TEST), ckpt_path=files_of(ensemble)[0], verbose=False)
    report = other.results["test"]
    assert "uniform_soup" in [each.name for each in report.strategies]
    assert [member.kind for member in report.members] == ["raw"] * 3 + ["soup"] * len(ensemble.fit.soups)
    assert report.diversity.disagreement.shape == (3, 3)
    third = CheckpointEnsemble(members=str(ensemble.fit.folder.parent), on_error="raise")
    toys.quiet([third]).validate(toys.Net(), toys.loader(VAL), verbose=False)
    assert [member.kind for member in third.results["val"].members] == ["raw"] * 3


def test_what_is_logged_stands_beside_the_figures_of_the_module():
    metrics = ClassificationMetrics(on_error="raise")
    follower = ClassificationMetrics(on_error="raise")
    ensemble = CheckpointEnsemble(then=[follower], strategies=["mean"], on_error="raise")
    trainer, module, _ = fitted(ensemble, extra=[metrics])
    trainer.test(module, toys.loader(TEST), verbose=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["test/accuracy"] == pytest.approx(metrics.results["test"].overall["accuracy"], abs=1e-6)
    used = ensemble.results["test"].used
    assert logged["test/ensemble/log_loss"] == pytest.approx(used.log_loss, abs=1e-6)
    assert logged["test/of_ensemble/accuracy"] == pytest.approx(used.accuracy, abs=1e-6)


def test_members_of_several_runs_are_called_by_what_tells_their_folders_apart(tmp_path):
    folders = []
    for version in (0, 1):
        torch.manual_seed(version)
        kept = ModelCheckpoint(dirpath=tmp_path / f"version_{version}" / "checkpoints", save_top_k=1)
        trainer = toys.quiet([kept], max_epochs=1, enable_checkpointing=True)
        trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL))
        folders.append(kept.dirpath)
    ensemble = CheckpointEnsemble(members=[*folders], on_error="raise")
    toys.quiet([ensemble]).validate(toys.Net(), toys.loader(VAL), verbose=False)
    names = [member.name for member in ensemble.results["val"].members]
    assert names == ["version_0, epoch 0", "version_1, epoch 0"]
