"""Whose process has ended, as the queue of trials sees it."""

import os
import socket
import time

import pytest

from lightning_posttrain.core.runs.owners import this_process
from lightning_posttrain.tuning.trial_queue import is_dead


def test_a_process_of_this_machine_is_known_at_once_whatever_it_last_said():
    assert not is_dead(this_process(), seen=0.0, grace=1.0)
    assert is_dead({**this_process(), "started": "0"}, seen=time.time(), grace=1e9)


@pytest.mark.parametrize("elsewhere", [{"host": socket.gethostname() + "2"}, {"where": "another boot"}])
def test_a_process_of_another_machine_is_dead_after_a_silence(elsewhere):
    owner = {**this_process(), **elsewhere, "pid": os.getpid() + 1}
    assert not is_dead(owner, seen=time.time() - 5, grace=60)
    assert is_dead(owner, seen=time.time() - 61, grace=60)
