"""Several processes on one study, and several processes in one trial."""

import json
from collections import Counter

import pytest

from tests.tuning import searches

RANKS = {"strategy": "ddp_fork", "devices": 2, "max_epochs": 4}


def once_each(study, asked):
    """Whether as many trials as were asked for ended, and every broken one was repeated once."""
    repeats = [trial.again for trial in study.trials if trial.again is not None]
    broken = [trial.number for trial in study.trials if "repeats it" in trial.reason]
    assert sorted(repeats) == sorted(broken)
    assert len(study.trials) - len(broken) == asked
    assert {trial.status for trial in study.trials if trial.number not in broken} == {"complete"}


@pytest.mark.slow
def test_workers_that_are_killed_at_random_lose_no_trial_and_run_none_twice(tmp_path):
    folder = tmp_path / "s"
    searches.killed_while_working([folder, folder], 5, trials=40, seconds=0.5)
    study = searches.run(folder, trials=40)
    once_each(study, 40)
    assert len(study.trials) > 40
    whole = searches.run(tmp_path / "whole", trials=40)
    assert sorted(map(repr, searches.settled(study))) == sorted(map(repr, searches.settled(whole)))
    assert json.loads((folder / "study.json").read_text())["trials"][-1]["status"] == "complete"


@pytest.mark.slow
def test_two_processes_try_a_grid_each_setting_once(tmp_path):
    folder, space = tmp_path / "s", {"lr": [0.1, 0.2, 0.3], "width": [2, 3, 4]}
    options = {"space": space, "sampler": "grid", "trials": None, "seconds": 0.2}
    searches.ended([searches.worker(folder, **options) for _ in range(2)], folder)
    study = searches.run(folder, space=space, sampler="grid", trials=None)
    tried = Counter((trial.params["lr"], trial.params["width"]) for trial in study.trials)
    assert tried == {(lr, width): 1 for lr in space["lr"] for width in space["width"]}
    once_each(study, 9)
    assert len(set((folder / "begun.txt").read_text().split())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        "ddp_fork",
        pytest.param(
            "ddp_spawn",
            marks=pytest.mark.xfail(
                strict=False,
                reason="on a busy machine a spawned rank sometimes aborts at its exit, in threads of torch",
            ),
        ),
    ],
)
def test_a_trial_on_two_ranks_is_pruned_on_both(tmp_path, strategy):
    folder, space = tmp_path / "s", {"lr": [0.1, 0.2, 0.3, 0.4, 0.45, 0.9]}
    options = {"sampler": "grid", "pruner": "median", "space": space}
    searches.run(folder, searches.FallingBehind, trials=5, trainer={"max_epochs": 4}, **options)
    # each rank takes all rows, and so as many steps as the trials before
    trainer = {**RANKS, "strategy": strategy, "use_distributed_sampler": False}
    worker = searches.worker(folder, build="falling_behind", trials=6, trainer=trainer, **options)
    searches.ended([worker], folder)
    study = searches.run(folder, searches.FallingBehind, trials=6, **options)
    assert [trial.status for trial in study.trials] == ["complete"] * 5 + ["pruned"], study.trials[-1].reason
    assert study.trials[5].curve == {3: 2.0, 6: 2.0}
    assert study.trials[5].figures == {"val_loss": 2.0}
    assert [(folder / "trial_0005" / f"rank{rank}.txt").read_text() for rank in (0, 1)] == ["6", "6"]


@pytest.mark.slow
def test_a_trial_that_fails_on_its_ranks_says_what_it_was(tmp_path):
    folder = tmp_path / "s"
    process = searches.worker(folder, build="failing", trials=5, trainer=RANKS)
    assert process.wait(timeout=240)
    said = next(folder.glob("worker*.txt")).read_text()
    assert "3 trials failed and none gave a value, the last 3 for one reason: RuntimeError: no validation" in said
