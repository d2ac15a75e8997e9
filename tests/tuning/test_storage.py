import contextlib
import multiprocessing
import os
import signal
import time

import pytest

from lightning_posttrain.tuning import StudyRefused
from lightning_posttrain.tuning.backend import optuna, quiet
from lightning_posttrain.tuning.storage import StudyStore, check_url, drop_torn_line
from tests.tuning import searches

pytestmark = pytest.mark.usefixtures("without_pictures")


def store(folder, url=None):
    return StudyStore(folder, url, "study", "min", "none")


def test_a_line_that_a_dying_process_left_half_written_is_cut(tmp_path):
    study, _ = store(tmp_path).open()
    study.add_trial(optuna.trial.create_trial(value=1.0))
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"work')
    study, _ = store(tmp_path).open()
    study.add_trial(optuna.trial.create_trial(value=2.0))
    assert journal.read_bytes().startswith(whole)
    assert [trial.value for trial in store(tmp_path).open()[0].trials] == [1.0, 2.0]


@pytest.mark.parametrize("text", [b"", b"a\n", b"a\nb\n"])
def test_whole_lines_are_left_alone(tmp_path, text):
    (tmp_path / "journal").write_bytes(text)
    drop_torn_line(tmp_path / "journal")
    assert (tmp_path / "journal").read_bytes() == text


def hold(folder, urls, ready):
    with contextlib.ExitStack() as held:
        for url in urls:
            held.enter_context(store(folder, url).lock())
        ready.set()
        time.sleep(60)


@pytest.mark.slow
def test_a_lock_ends_with_the_process_that_holds_it(tmp_path):
    urls = [None, f"sqlite:///{tmp_path}/study.db"]
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=hold, args=(tmp_path, urls, ready))
    child.start()
    assert ready.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    began = time.monotonic()
    for url in urls:
        with store(tmp_path, url).lock():
            assert time.monotonic() - began < 10
    child.join()


def test_a_journal_is_read_by_optuna_itself(tmp_path):
    searches.run(tmp_path / "s")
    with quiet():
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "s" / "study.journal"))
        found = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert len(found.trials) == 3


def test_a_database_in_a_file_holds_a_study_that_goes_on(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    first = searches.run(tmp_path / "s", storage=url, trials=2)
    both = searches.run(tmp_path / "s", storage=url, trials=4)
    assert searches.settled(both)[:2] == searches.settled(first)
    assert searches.settled(both) == searches.settled(searches.run(tmp_path / "one", trials=4))


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("study.db", StudyRefused, "wanted None for a journal in `folder`, or a URL"),
        ("nosuch://host/base", StudyRefused, "wanted None for a journal"),
        ("sqlite://", StudyRefused, "which keeps nothing"),
        ("sqlite:///no/such/folder/study.db", StudyRefused, "which does not answer: unable to open"),
        ("mysql+pymysql://user:secret@127.0.0.1:1/base", ImportError, r"user:\*\*\*@.*pip install pymysql"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_in_words(url, kind, words):
    with pytest.raises(kind, match=words):
        check_url(url)
