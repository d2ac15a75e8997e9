"""Studies in a PostgreSQL server, which the tests start on loopback and stop."""

import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lightning_posttrain.core.runs.owners import this_process
from lightning_posttrain.tuning.storage import check_url
from lightning_posttrain.tuning.trial_queue import TrialQueue
from tests.tuning import searches
from tests.tuning.test_processes import RANKS, once_each
from tests.tuning.test_storage import hold

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """URL of a server of its own."""
    pytest.importorskip("psycopg")
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None, key=lambda path: path.parts[-3])
    if programs is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    # the server refuses to be root's
    user = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []} if not os.getuid() else {}
    home = Path(tempfile.mkdtemp(prefix="postgresql"))
    if user:
        os.chown(home, pwd.getpwnam("postgres").pw_uid, -1)
    where = {"cwd": home, **user}
    options = ["--auth=trust", "--username=study", "--locale=C", "--encoding=UTF8", "--no-sync"]
    subprocess.run([programs, "-D", home / "data", *options], check=True, capture_output=True, **where)
    port = free_port()
    settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
    command = [programs.parent / "postgres", "-D", home / "data", *(part for one in settings for part in ("-c", one))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **where)
    url = f"postgresql+psycopg://study@127.0.0.1:{port}/postgres"
    try:
        wait_for(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        shutil.rmtree(home)


def wait_for(url):
    deadline = time.monotonic() + 60
    while True:
        try:
            return check_url(url)
        except ValueError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_study_in_a_database_equals_one_in_a_journal_and_goes_on(tmp_path, server):
    searches.run(tmp_path / "a", storage=server, name="equal", sampler="tpe", trials=5)
    there = searches.run(tmp_path / "b", storage=server, name="equal", sampler="tpe", trials=12)
    here = searches.run(tmp_path / "c", sampler="tpe", trials=12, test=True)
    assert searches.settled(there) == searches.settled(here)
    assert here.best.number < 5  # so its checkpoint is in the folder of the first call
    with pytest.warns(UserWarning, match=r"has no checkpoint in .*call `tune` again where it ran"):
        searches.run(tmp_path / "b", storage=server, name="equal", sampler="tpe", trials=12, test=True)
    tested = searches.run(tmp_path / "a", storage=server, name="equal", sampler="tpe", trials=12, test=True)
    assert tested.best.test == here.best.test


def test_processes_that_create_a_study_at_once_all_work_on_it(tmp_path, server):
    folders = [tmp_path / str(number) for number in range(4)]
    workers = [searches.worker(one, storage=server, name="at once", trials=12, seconds=0.2) for one in folders]
    searches.ended(workers, folders[0])
    once_each(searches.run(tmp_path / "end", storage=server, name="at once", trials=12), 12)


def test_workers_without_a_shared_folder_that_are_killed_lose_no_trial(tmp_path, server):
    folders = [tmp_path / "a", tmp_path / "b"]
    searches.killed_while_working(folders, 4, storage=server, name="killed", trials=36, seconds=0.5)
    study = searches.run(tmp_path / "end", storage=server, name="killed", trials=36)
    once_each(study, 36)
    whole = searches.run(tmp_path / "whole", trials=36)
    assert sorted(map(repr, searches.settled(study))) == sorted(map(repr, searches.settled(whole)))


def test_a_lock_on_a_database_ends_with_its_process_and_keeps_others_out(tmp_path, server):
    context = multiprocessing.get_context("spawn")
    ready, late = context.Event(), context.Event()
    first = context.Process(target=hold, args=(tmp_path, [server], ready))
    first.start()
    assert ready.wait(60)
    second = context.Process(target=hold, args=(tmp_path, [server], late))
    second.start()
    assert not late.wait(8)
    os.kill(first.pid, signal.SIGKILL)
    assert late.wait(60)
    os.kill(second.pid, signal.SIGKILL)
    for child in (first, second):
        child.join()


def test_ranks_of_a_trial_report_to_a_database(tmp_path, server):
    options = {"build": "falling_behind", "trainer": RANKS, "trials": 2, "storage": server, "name": "ranks"}
    searches.ended([searches.worker(tmp_path / "s", **options)], tmp_path / "s")
    study = searches.run(tmp_path / "s", storage=server, name="ranks", trials=2)
    assert [(trial.status, len(trial.curve)) for trial in study.trials] == [("complete", 4)] * 2


def test_a_trial_of_another_machine_is_repeated_after_its_silence_alone(tmp_path, server, monkeypatch):
    class Gone(Exception):
        pass

    def goes(*_):
        raise Gone

    elsewhere = {**this_process(), "host": "another machine"}
    options = {"storage": server, "name": "elsewhere", "trials": 2}
    with monkeypatch.context() as patch:
        patch.setattr("lightning_posttrain.tuning.trial_queue.this_process", lambda: elsewhere)
        patch.setattr("lightning_posttrain.tuning.search.TrialRun.run", goes)
        patch.setattr(TrialQueue, "leave", lambda *_: None)
        with pytest.raises(Gone):
            searches.run(tmp_path / "a", **options)
    waits = searches.run(tmp_path / "b", grace=3600.0, **options)
    assert [trial.status for trial in waits.trials] == ["running", "complete"]
    time.sleep(0.2)
    taken = searches.run(tmp_path / "b", grace=0.1, **options)
    assert [trial.status for trial in taken.trials] == ["failed", "complete", "complete"]
    assert "on another machine ended" in taken.trials[0].reason
