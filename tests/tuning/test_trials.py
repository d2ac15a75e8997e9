"""What a trial is: its settings, its fit, its value, its end."""

import importlib
import json
import math
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_info
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_posttrain.tuning import StudyRefused
from lightning_posttrain.tuning.building import built, trainer_for
from tests.tuning import searches
from tests.tuning.searches import scored

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

WIDE = {
    "lr": (1e-4, 1.0, "log"),
    "width": (1, 64, "log"),
    "depth": (1, 3),
    "drop": (0.0, 0.5),
    "act": ["relu", None, 2],
}


def smooth(params):
    return abs(math.log10(params["lr"]) + 2)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_samplers_propose_within_the_space(tmp_path, sampler):
    found = searches.proposed(tmp_path / "s", smooth, WIDE, sampler=sampler, trials=16)
    for params, _ in found:
        assert 1e-4 <= params["lr"] <= 1.0
        assert isinstance(params["width"], int)
        assert 1 <= params["width"] <= 64
        assert params["depth"] in (1, 2, 3)
        assert isinstance(params["depth"], int)
        assert 0.0 <= params["drop"] <= 0.5
        assert params["act"] in ("relu", None, 2)
    assert len({json.dumps(params) for params, _ in found}) == 16


def test_logarithmic_ranges_are_drawn_evenly_in_factors(tmp_path):
    space = {"lr": (1e-4, 1.0, "log"), "width": (1, 256, "log")}
    found = searches.proposed(tmp_path / "s", smooth, space, sampler="random", trials=60)
    logs = [math.log10(params["lr"]) for params, _ in found]
    widths = [math.log2(params["width"]) for params, _ in found]
    # mean and three standard errors of an even draw
    assert sum(logs) / 60 == pytest.approx(-2, abs=3 * 4 / math.sqrt(12 * 60))
    assert sum(widths) / 60 == pytest.approx(4, abs=3 * 8 / math.sqrt(12 * 60) + 0.3)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_learn_where_random_does_not(tmp_path, sampler):
    def mean_of_last(name, seed):
        space = {"lr": (1e-6, 1.0, "log")}
        found = searches.proposed(tmp_path / f"{name}{seed}", smooth, space, sampler=name, trials=20, seed=seed)
        return sum(value for _, value in found[10:]) / 10

    assert min(mean_of_last("random", seed) - mean_of_last(sampler, seed) for seed in (0, 1)) > 0.3


def test_seeds_of_studies_share_no_draws(tmp_path):
    space = {"lr": (1e-4, 1.0, "log")}
    drawn = [
        params["lr"]
        for seed in (0, 1, 2)
        for params, _ in searches.proposed(tmp_path / f"{seed}", smooth, space, sampler="random", seed=seed, trials=4)
    ]
    assert len(set(drawn)) == 12


def test_a_grid_is_tried_in_full_and_each_once(tmp_path):
    space = {"lr": [0.1, 0.2], "width": (2, 4)}
    searches.run(tmp_path / "s", space=space, sampler="grid", trials=2)
    study = searches.run(tmp_path / "s", space=space, sampler="grid", trials=None)
    assert [tuple(trial.params.values()) for trial in study.trials] == [(lr, w) for lr in (0.1, 0.2) for w in (2, 3, 4)]
    assert {trial.status for trial in searches.run(tmp_path / "s", space=space, sampler="grid", trials=99).trials} == {
        "complete"
    }


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_a_study_that_goes_on_equals_one_that_was_never_broken_off(tmp_path, sampler):
    options = {"sampler": sampler, "pruner": "median", "trainer": {"limit_train_batches": 1, "limit_val_batches": 1}}
    whole = searches.run(tmp_path / "whole", trials=12, **options)
    for trials in (3, 11, 12, 12):
        parts = searches.run(tmp_path / "parts", trials=trials, **options)
    assert searches.settled(parts) == searches.settled(whole)


def test_the_value_is_the_best_of_a_trial_or_its_last(tmp_path):
    def valley(params, epoch):
        return abs(epoch - 1) + 1.0

    best = searches.run(tmp_path / "best", scored(valley), trials=1, trainer={"max_epochs": 4}).trials[0]
    assert (best.value, best.step, best.curve) == (1.0, 6, {3: 2.0, 6: 1.0, 9: 2.0, 12: 3.0})
    highest = searches.run(tmp_path / "max", scored(valley), trials=1, trainer={"max_epochs": 4}, mode="max").trials[0]
    assert (highest.value, highest.step) == (3.0, 12)
    last = searches.run(tmp_path / "last", scored(valley), trials=1, trainer={"max_epochs": 4}, value="last").trials[0]
    assert (last.value, last.step) == (3.0, 12)
    assert best.figures["val_loss"] == 3.0


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_each_trial_has_curves_and_the_best_checkpoint_in_its_folder(tmp_path, namespace):
    study = searches.run(tmp_path / "s", lambda p: searches.net(p, namespace), trials=2, trainer={"logger": True})
    for trial in study.trials:
        home = tmp_path / "s" / trial.folder
        events = EventAccumulator(str(home)).Reload()
        assert [event.value for event in events.Scalars("val_loss")] == pytest.approx(list(trial.curve.values()))
        state = torch.load(home / "checkpoints" / "best.ckpt", weights_only=True)
        assert state["global_step"] == trial.step
        assert state["pytorch-lightning_version"] == importlib.import_module(namespace).__version__


def test_the_best_trial_is_tested_from_its_checkpoint(tmp_path):
    study = searches.run(tmp_path / "s", trials=3, test=True)
    net = searches.net(study.best.params)
    net.load_state_dict(torch.load(tmp_path / "s" / study.best.folder / "checkpoints" / "best.ckpt")["state_dict"])
    x, y = searches.loader(32).dataset.tensors
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net.model(x), y)
    assert study.best.test == {"test_loss": pytest.approx(loss.item(), rel=1e-5)}
    assert [bool(trial.test) for trial in study.trials].count(True) == 1


def test_a_pruned_trial_ends_at_its_validation_with_everything_closed(tmp_path):
    ends = []

    def build(params):
        net = scored(lambda p, epoch: 1.0 + (p["lr"] > 0.5))(params)
        net.on_fit_end = lambda: ends.append("in peace")
        net.on_exception = ends.append
        return net

    space = {"lr": [0.1, 0.2, 0.3, 0.4, 0.45, 0.9]}
    study = searches.run(
        tmp_path / "s", build, space, sampler="grid", pruner="median", trainer={"max_epochs": 4}, trials=None
    )
    assert [trial.status for trial in study.trials] == ["complete"] * 5 + ["pruned"]
    worst = study.trials[5]
    assert worst.curve == {3: 2.0, 6: 2.0}
    assert (worst.reason, worst.value, worst.step) == ("ended by `pruner='median'` at step 6", None, 6)
    assert ends == ["in peace"] * 6


def test_min_epochs_keeps_a_pruned_trial_going_and_is_noted(tmp_path):
    trainer = {"max_epochs": 9, "min_epochs": 7}
    study = searches.run(tmp_path / "s", scored(lambda p, e: e + 1.0), trials=1, pruner="patience", trainer=trainer)
    assert study.trials[0].reason == "ended by `pruner='patience'` at step 15; `min_epochs=7` kept it going to step 21"


@pytest.mark.parametrize("pruner", ["hyperband", "patience", "median", None])
def test_pruners_save_epochs_and_keep_the_best(tmp_path, pruner):
    def score(params, epoch):
        return abs(math.log10(params["lr"]) + 2) + 0.2 * epoch * (params["lr"] > 0.1) - 0.01 * epoch

    limits = {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 9}
    options = {"trials": 8, "pruner": pruner, "trainer": limits}
    study = searches.run(tmp_path / "s", scored(score), {"lr": (1e-4, 1.0, "log")}, **options)
    epochs = sum(len(trial.curve) for trial in study.trials)
    assert epochs == 72 if pruner is None else epochs < 72
    assert Counter(trial.status for trial in study.trials)["complete"] >= 1


def test_without_validation_a_training_figure_is_reported_each_epoch(tmp_path):
    def build(params):
        return searches.net(params), searches.loader()

    with pytest.warns(UserWarning, match="no `val_dataloader`"):
        trial = searches.run(tmp_path / "s", build, monitor="train_loss", trials=1).trials[0]
    assert list(trial.curve) == [3, 6]


def test_a_sanity_check_reports_nothing(tmp_path):
    trial = searches.run(tmp_path / "s", trials=1, trainer={"num_sanity_val_steps": 2}).trials[0]
    assert list(trial.curve) == [3, 6]


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_a_trial_may_bring_its_own_trainer(tmp_path, namespace):
    pl = importlib.import_module(namespace)

    def build(params):
        checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / str(params["lr"]), monitor="val_loss")
        trainer = pl.Trainer(enable_progress_bar=False, callbacks=[checkpoint], **searches.QUIET)
        return searches.net(params, namespace), (searches.loader(), searches.loader(16), searches.loader(32)), trainer

    study = searches.run(tmp_path / "s", build, test=True)
    assert [list(trial.curve) for trial in study.trials] == [[3, 6]] * 3
    assert "test_loss" in study.best.test


def test_options_of_one_trial_stand_above_those_of_all(tmp_path):
    study = searches.run(tmp_path / "s", lambda p: (searches.net(p), None, {"max_epochs": p["width"]}), trials=3)
    assert [len(trial.curve) for trial in study.trials] == [trial.params["width"] for trial in study.trials]


def test_callbacks_of_all_trials_start_anew_in_each(tmp_path):
    from lightning.pytorch.callbacks import EarlyStopping

    stopping = EarlyStopping("val_loss", patience=2)
    build = scored(lambda params, epoch: 1.0 + epoch)
    study = searches.run(tmp_path / "s", build, trainer={"callbacks": stopping, "max_epochs": 9})
    assert [len(trial.curve) for trial in study.trials] == [3, 3, 3]
    assert stopping.wait_count == 0


def test_a_trial_that_raises_is_recorded_and_costs_no_other(tmp_path):
    def build(params):
        if params["width"] == 4:
            raise RuntimeError(f"no width of {params['width']}")
        return searches.net(params)

    study = searches.run(tmp_path / "s", build, {"width": [2, 4, 3]}, sampler="grid", trials=None)
    assert [trial.status for trial in study.trials] == ["complete", "failed", "complete"]
    assert study.trials[1].reason == "RuntimeError: no width of 4"
    assert "in build" in (tmp_path / "s" / study.trials[1].folder / "error.txt").read_text()
    assert len(searches.run(tmp_path / "s", build, {"width": [2, 4, 3]}, sampler="grid", trials=None).trials) == 3


def test_out_of_memory_is_told_apart_and_frees_what_the_trial_held(tmp_path):
    import weakref

    held = []

    def build(params):
        net = searches.net(params)
        held.append(weakref.ref(net))

        def broke(batch, batch_idx):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

        if params["width"] == 4:
            net.training_step = broke
        elif len(held) > 1:
            assert held[0]() is None
        return net

    study = searches.run(tmp_path / "s", build, {"width": [4, 2]}, sampler="grid", trials=None)
    assert study.trials[0].reason.startswith("out of memory: OutOfMemoryError: CUDA out of memory")
    assert [trial.status for trial in study.trials] == ["failed", "complete"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_ends_the_trial_with_its_reason(tmp_path, value):
    build = scored(lambda params, epoch: 1.0 if params["width"] == 2 else (0.5, value)[epoch])
    study = searches.run(
        tmp_path / "s", build, {"width": [4, 2]}, sampler="grid", trials=None, trainer={"max_epochs": 2}
    )
    assert study.trials[0].status == "pruned"
    assert study.trials[0].reason == f"`val_loss` is {value} at step 6"
    assert study.best.number == 1


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_three_trials_that_fail_alike_end_the_study_and_a_better_build_goes_on(tmp_path, how):
    def build(params):
        if how == "raises":
            raise RuntimeError(f"shapes {params['lr']} differ")
        return scored(lambda params, epoch: math.nan)(params)

    with pytest.raises(
        StudyRefused, match=r"3 trials failed and none gave a value, .* for one reason: .*call `tune` again"
    ):
        searches.run(tmp_path / "s", build, trials=9)
    study = searches.run(tmp_path / "s", trials=9)
    assert Counter(trial.status for trial in study.trials) == {
        "failed" if how == "raises" else "pruned": 3,
        "complete": 6,
    }


def test_failures_of_different_reasons_do_not_end_a_study(tmp_path):
    def build(params):
        raise {2: ValueError, 3: KeyError, 4: TypeError}[params["width"]]("no")

    study = searches.run(tmp_path / "s", build, {"width": [2, 3, 4]}, sampler="grid", trials=None)
    assert {trial.status for trial in study.trials} == {"failed"}


def test_lines_that_are_the_same_for_every_trial_are_not_said(tmp_path, caplog):
    def build(params):
        rank_zero_info("GPU available: of mine")
        rank_zero_info("a word of the user")
        return searches.net(params)

    with caplog.at_level("INFO"):
        searches.run(tmp_path / "s", build, trials=2)
    said = [record.getMessage() for record in caplog.records]
    assert said.count("a word of the user") == 2
    assert [line.split(":")[0] for line in said if "trial" in line] == ["trial 0 of 2", "trial 1 of 2"]
    assert not any(line.startswith(("GPU available", "TPU available", "`Trainer.fit` stopped")) for line in said)
    rank_zero_info("GPU available: after it")
    assert caplog.records[-1].getMessage() == "GPU available: after it"


def test_a_warning_of_every_trial_is_shown_once(tmp_path):
    def build(params):
        warnings.warn("a batch is small", UserWarning, stacklevel=1)
        return searches.net(params)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        searches.run(tmp_path / "s", build, trials=3)
    assert [str(each.message) for each in shown].count("a batch is small") == 1


def test_files_that_cannot_be_written_cost_no_trial(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("lightning_posttrain.tuning.search.write_outputs", broken)
    with pytest.warns(UserWarning, match="files are not up to date, but its trials are kept: OSError: disk full"):
        study = searches.run(tmp_path / "s")
    assert [trial.status for trial in study.trials] == ["complete"] * 3


def test_a_trial_without_a_figure_says_so(tmp_path):
    study = searches.run(tmp_path / "s", trials=1, trainer={"max_epochs": 0})
    assert study.trials[0].reason.startswith("`monitor='val_loss'` was never reported")


def test_a_winner_without_a_checkpoint_is_not_tested_and_that_is_said(tmp_path):
    with pytest.warns(UserWarning, match="is the best and was not tested, as it kept no checkpoint"):
        study = searches.run(tmp_path / "s", test=True, trainer={"enable_checkpointing": False})
    assert not study.best.test


def test_a_test_that_raises_costs_no_study(tmp_path):
    def build(params):
        net = searches.net(params)
        del type(net).test_step
        return net

    with pytest.warns(UserWarning, match="is the best and was not tested: MisconfigurationException: No `test_step"):
        assert searches.run(tmp_path / "s", build, test=True).best.status == "complete"


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_a_compiled_module_has_a_trainer_of_its_own_namespace(tmp_path, namespace):
    compiled = torch.compile(searches.net({}, namespace), backend="eager")
    one = built(lambda params: compiled, {}, data=None, options=searches.QUIET)
    trainer = trainer_for(one, tmp_path, monitor="val_loss", mode="min", callback=None)
    assert isinstance(trainer, importlib.import_module(namespace).Trainer)


def test_a_datamodule_serves_fit_and_test(tmp_path):
    from lightning.pytorch import LightningDataModule

    class Data(LightningDataModule):
        train_dataloader = staticmethod(searches.loader)
        val_dataloader = staticmethod(searches.loader)
        test_dataloader = staticmethod(searches.loader)

    assert "test_loss" in searches.run(tmp_path / "s", data=Data(), trials=1, test=True).best.test


def test_a_folder_may_be_moved(tmp_path):
    searches.run(tmp_path / "s", trials=1, name="one")
    Path(tmp_path / "s").rename(tmp_path / "moved")
    assert searches.run(tmp_path / "moved", trials=2, test=True, name="one").best.test
