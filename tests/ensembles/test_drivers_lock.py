"""The lock of a driver's folder: who is refused, who is waited for, and what is said."""

import json
import time

import pytest

from lightning_posttrain.core.runs.owners import has_ended, this_process
from lightning_posttrain.ensembles.drivers import lock
from lightning_posttrain.ensembles.drivers.lock import one_at_a_time

fcntl = pytest.importorskip("fcntl")
DEAD = {"pid": 77, "started": "0"}


def taken(folder):
    """How long it took to be refused, and the words."""
    began = time.monotonic()
    with pytest.raises(RuntimeError) as caught, one_at_a_time(folder):
        pass
    return time.monotonic() - began, str(caught.value)


@pytest.fixture
def held(tmp_path):
    """The lock, held by somebody; what the owner has written is given to it."""
    with (tmp_path / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def said(owner):
            file.truncate(0)
            file.write(owner if isinstance(owner, str) else json.dumps(owner))
            file.flush()

        yield said


@pytest.mark.parametrize("elsewhere", [{}, {"host": "elsewhere"}, {"where": "another container", "started": "0"}])
def test_an_owner_that_may_live_is_named_and_not_waited_for(held, tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    owner = {**this_process(), **elsewhere}
    held(owner)
    seconds, words = taken(tmp_path)
    assert seconds < 10
    assert f"is in use by process {owner['pid']} on {owner['host']}. Wait until that has ended" in words


def test_what_a_dead_owner_has_left_behind_is_waited_for_and_told_of(held, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.4)
    held({**this_process(), **DEAD})
    seconds, words = taken(tmp_path)
    assert seconds >= 0.4
    assert "in use by process 77 on" in words
    assert "which is dead and has left others behind. Wait" in words


@pytest.mark.parametrize("text", ["", '{"host": '])
def test_an_owner_that_has_not_yet_said_its_number_is_waited_for(held, tmp_path, text, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    held(text)
    assert "is in use by a process. Wait until" in taken(tmp_path)[1]


def test_the_lock_says_whose_it_is_and_is_free_afterwards(tmp_path):
    for _ in range(2):
        with one_at_a_time(tmp_path):
            assert has_ended(json.loads((tmp_path / "lock").read_text())) is False
