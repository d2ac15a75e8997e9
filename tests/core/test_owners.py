import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_posttrain.core.runs.owners import has_ended, this_process


def test_this_process_lives():
    assert has_ended(this_process()) is False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_was_killed_has_ended_at_once_even_before_its_parent_notices():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = {**this_process(), "pid": child.pid}
    owner["started"] = _started(child.pid)
    assert has_ended(owner) is False
    child.kill()
    deadline = time.monotonic() + 20
    while not has_ended(owner) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert has_ended(owner) is True
    child.wait()
    assert has_ended(owner) is True
    child.stdin.close()


def _started(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def test_a_process_that_took_the_number_of_a_dead_one_is_not_the_owner():
    assert has_ended({**this_process(), "started": "0"}) is True


def test_of_a_process_of_another_machine_or_container_nothing_is_known():
    for elsewhere in ({"host": socket.gethostname() + "2"}, {"where": "another boot"}):
        assert has_ended({**this_process(), **elsewhere, "pid": os.getpid() + 1}) is None
