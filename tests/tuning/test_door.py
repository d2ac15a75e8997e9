"""What ``tune`` is asked, what it refuses, and what trials leave untouched."""

import importlib
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_posttrain.tuning import StudyRefused
from lightning_posttrain.tuning.trial_queue import TrialQueue
from tests.tuning import searches

pytestmark = pytest.mark.usefixtures("without_pictures")


def never(params):
    raise AssertionError("no trial was to run")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "least"}, "`mode` is 'least', wanted one of"),
        ({"value": "mean"}, "`value` is 'mean', wanted one of"),
        ({"sampler": "cmaes"}, "`sampler` is 'cmaes', wanted one of"),
        ({"pruner": "asha"}, "`pruner` is 'asha', wanted one of .*or None"),
        ({"trials": 0}, "`trials` is 0, wanted a whole number from 1 on"),
        ({"trials": 2.0}, "`trials` is 2.0"),
        ({"trials": None}, "`trials` is None, wanted how many"),
        ({"seed": -1}, "`seed` is -1"),
        ({"grace": 0}, "`grace` is 0, wanted seconds above 0"),
        ({"monitor": ""}, "`monitor` is '', wanted the name"),
        ({"space": {"lr": 1}}, r"`space\['lr'\]` is 1"),
        ({"build": "net"}, "`build` is 'net', wanted a function"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_before_any_trial(tmp_path, options, words):
    with pytest.raises(StudyRefused, match=words):
        searches.run(tmp_path / "s", **{"build": never, **options})
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "given", [3, (1, 2), lambda: (searches.net({}), None, 5), lambda: (searches.net({}), None, {}, 1)]
)
def test_build_that_gives_something_else_ends_the_study_in_words(tmp_path, given):
    with pytest.raises(StudyRefused, match=r"`build` gave .*wanted a LightningModule"):
        searches.run(tmp_path / "s", lambda params: given() if callable(given) else given)


def test_a_wrong_monitor_names_the_figures_and_may_be_corrected_in_the_same_folder(tmp_path):
    with pytest.raises(StudyRefused, match=r"`monitor` is 'val_los', wanted .*\['val_loss'\]"):
        searches.run(tmp_path / "s", monitor="val_los")
    corrected = searches.run(tmp_path / "s")
    assert searches.settled(corrected) == searches.settled(searches.run(tmp_path / "right"))
    assert "broken off" in corrected.trials[0].reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": {"lr": (1e-3, 1.0)}}, "space lr 0.001 to 1.0 .log., not 0.001 to 1.0; space width .2, 4., not none"),
        ({"mode": "max"}, "mode 'min', not 'max'"),
        ({"monitor": "train_loss"}, "monitor 'val_loss', not 'train_loss'"),
        ({"value": "last"}, "value 'best', not 'last'"),
    ],
)
def test_a_folder_goes_on_with_its_own_study_alone(tmp_path, options, words):
    searches.run(tmp_path / "s", trials=1)
    with pytest.raises(StudyRefused, match=words):
        searches.run(tmp_path / "s", never, **options)


@pytest.mark.parametrize("names", [{"LOCAL_RANK": "1"}, {"WORLD_SIZE": "2"}])
def test_a_rank_of_several_scripts_is_refused_with_the_cure(tmp_path, monkeypatch, names):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StudyRefused, match=r'in one rank of several.*"ddp_spawn"'):
        searches.run(tmp_path / "s", never)


def test_a_strategy_of_scripts_is_refused_with_the_cure(tmp_path):
    with pytest.raises(StudyRefused, match=r'DDPStrategy with scripts.*"ddp_spawn"'):
        searches.run(tmp_path / "s", trainer={"strategy": "ddp", "devices": 2})


def test_random_numbers_environment_and_signals_are_as_before(tmp_path, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.setenv("PL_SEED_WORKERS", "0")

    def draws():
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    before, environment, handler = draws(), dict(os.environ), signal.getsignal(signal.SIGINT)
    searches.run(tmp_path / "s", trials=2, test=True)
    assert draws() == before
    assert dict(os.environ) == environment
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_ends_the_loop_and_the_next_call_repeats_the_trial(tmp_path):
    def build(params):
        net = searches.net(params)
        if not list(tmp_path.glob("s/interrupted")):
            net.on_train_epoch_start = interrupt
        return net

    def interrupt():
        (tmp_path / "s" / "interrupted").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searches.run(tmp_path / "s", build)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    study = searches.run(tmp_path / "s", build)
    assert [trial.again for trial in study.trials] == [None, 0, None, None]
    assert study.trials[0].reason == "it was broken off before it did; trial 1 repeats it"
    assert searches.settled(study) == searches.settled(searches.run(tmp_path / "whole"))


def test_without_optuna_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lightning_posttrain.tuning.backend")
    with pytest.raises(ImportError, match=r"pip install 'lightning-posttrain\[tuning\]'"):
        importlib.import_module("lightning_posttrain.tuning.backend")


@pytest.mark.slow
def test_without_optuna_all_but_the_search_is_there():
    code = (
        "import sys; sys.modules['optuna'] = None\nfrom lightning_posttrain.tuning import Study\n"
        "print(Study.__name__)\nfrom lightning_posttrain.tuning import tune"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "Study\n"
    assert "pip install 'lightning-posttrain[tuning]'" in done.stderr


def test_a_few_trials_are_said_to_be_random(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("lightning_posttrain.tuning.door.rank_zero_info", said.append)
    searches.run(tmp_path / "s", sampler="tpe", trials=2, storage=f"sqlite:///{tmp_path}/a.db")
    assert "the first 2 of 2 trials are random" in said[0]
    assert "Leave `storage` out" in said[1]


def test_an_order_that_is_taken_over_is_not_recorded_twice(tmp_path, monkeypatch):
    """Another machine took a trial for dead, repeated it, and the first comes back with its result."""
    taken = []
    finish = TrialQueue.finish

    def slow(queue, one, outcome):
        if not taken:
            taken.append(one)
            queue.leave(one)
            assert queue.take().params == one.params
        return finish(queue, one, outcome)

    monkeypatch.setattr(TrialQueue, "finish", slow)
    study = searches.run(tmp_path / "s", trials=2)
    assert [trial.status for trial in study.trials] == ["failed", "running", "complete"]
    assert study.trials[1].again == 0
