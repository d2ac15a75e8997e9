import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_posttrain.tuning.owners import is_dead, this_process


def test_this_process_lives():
    assert not is_dead(this_process(), seen=0.0, grace=1.0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_was_killed_is_dead_at_once_even_before_its_parent_notices():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = {**this_process(), "pid": child.pid}
    owner["started"] = _started(child.pid)
    assert not is_dead(owner, seen=0.0, grace=1.0)
    child.kill()
    deadline = time.monotonic() + 20
    while not is_dead(owner, seen=time.time(), grace=1e9) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_dead(owner, seen=time.time(), grace=1e9)
    child.wait()
    assert is_dead(owner, seen=time.time(), grace=1e9)
    child.stdin.close()


def _started(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def test_a_process_that_took_the_number_of_a_dead_one_is_not_the_owner():
    assert is_dead({**this_process(), "started": "0"}, seen=time.time(), grace=1e9)


def test_a_process_of_another_machine_is_dead_after_a_silence():
    for elsewhere in ({"host": socket.gethostname() + "2"}, {"where": "another boot"}):
        owner = {**this_process(), **elsewhere, "pid": os.getpid() + 1}
        assert not is_dead(owner, seen=time.time() - 5, grace=60)
        assert is_dead(owner, seen=time.time() - 61, grace=60)
