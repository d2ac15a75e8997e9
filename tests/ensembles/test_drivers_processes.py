"""Drivers that are killed, and drivers whose members are fitted on two ranks."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_posttrain.ensembles.drivers.resampling import bootstrap
from tests import toys
from tests.ensembles import digits
from tests.ensembles.digits import logits, state, states_equal

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")]
MODULE = "tests.ensembles.driven"


def begun(kind, folder):
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-m", MODULE, kind, str(folder)], cwd=root)
    while not (folder / "settings.json").exists():
        time.sleep(0.01)
    return process


def finished(folder):
    """When the record of each member that is finished was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("member_*/member.json")}


def told(folder):
    """What a run came to, without the time that it took."""
    found = json.loads((folder / "result.json").read_text())
    for record in found["records"]:
        del record["seconds"]
    return found


@pytest.mark.parametrize("kind", ["seeds", "bagging", "boosting", "sampling"])
def test_a_run_that_is_killed_five_times_gives_bitwise_what_it_would_have_given(kind, tmp_path):
    toys.ran(MODULE, kind, str(tmp_path / "whole"), timeout=120)
    folder, moments, done = tmp_path / "killed", random.Random(kind), {}
    folder.mkdir()
    for _ in range(5):
        process = begun(kind, folder)
        lock = folder / "lock"
        while str(process.pid) not in lock.read_text():
            time.sleep(0.005)
        time.sleep(moments.uniform(0.01, 0.15))  # a member takes longer, and there are more of them than kills
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert finished(folder).items() >= done.items()
        done = finished(folder)
    toys.ran(MODULE, kind, str(folder), timeout=120)
    assert finished(folder).items() >= done.items()
    assert told(folder) == told(tmp_path / "whole")
    members = told(folder)["members"]
    assert len(members) == 6
    assert all(states_equal(state(folder / one), state(tmp_path / "whole" / one)) for one in members)
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
def test_members_on_two_ranks_have_the_out_of_bag_figures_of_a_slow_loop(strategy, tmp_path):
    toys.ran(MODULE, "bagging", str(tmp_path), strategy, timeout=240)
    found = told(tmp_path)
    x, y = digits.train().tensors
    losses = []
    each = [logits(tmp_path / one, x).softmax(1) for one in found["members"]]
    for row in range(300):
        votes = [p[row] for k, p in enumerate(each) if row not in bootstrap(300, seed=0, member=k)]
        if votes:
            losses.append(-float(torch.stack(votes).mean(0)[y[row]].log()))
    assert len(each) == 3
    assert [record["epochs"] for record in found["records"]] == [2, 2, 2]
    assert all(record["score"] is not None and record["figures"] for record in found["records"])
    assert found["out_of_bag"]["rows"] == len(losses)
    assert found["out_of_bag"]["log_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("kind", ["seeds", "boosting", "sampling"])
def test_members_on_two_ranks_are_the_same_in_each_run(kind, tmp_path):
    for name in ("one", "two"):
        toys.ran(MODULE, kind, str(tmp_path / name), "ddp_fork", timeout=240)
    assert told(tmp_path / "one") == told(tmp_path / "two")
    assert all(
        states_equal(state(tmp_path / "one" / path), state(tmp_path / "two" / path))
        for path in told(tmp_path / "one")["members"]
    )
