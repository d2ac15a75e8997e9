"""What is drawn and written beside the run: in order, in one thread, and done when the run is."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_posttrain import ConfusionMatrix, GeneralizationGap, StreamCallback, posttrain_suite
from lightning_posttrain.core.output.artifacts import File, Tagged
from lightning_posttrain.core.output.background import BackgroundWriter
from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.torchmetrics.copies import flattened
from tests import public_api, toys

PATIENCE = 60
"""Seconds after which a wait has failed; no test waits so long where all is well."""


class Shown(StreamCallback):
    """Shows what a function makes of the number of the epoch."""

    tag = "shown"

    def __init__(self, draw, **options):
        super().__init__(**options)
        self.draw = draw
        self.epoch = -1
        self.epochs = {}

    def summarize(self, module, evaluation, names):
        self.epoch += 1
        result = Counted()
        self.epochs[result] = self.epoch  # it is drawn later, while the run goes on
        return result

    def show(self, result, title):
        yield Tagged("before", File(b"kept", ".txt"))
        self.draw()
        yield Tagged("after", File(b"drawn", ".txt"))


class At(Callback):
    """Calls a function in a hook."""

    def __init__(self, hook, call):
        setattr(self, hook, lambda trainer, *args, **kwargs: call(trainer))


def fit(callbacks, **options):
    toys.quiet(callbacks, **options).fit(toys.Net(), toys.loader(), toys.loader())


def fail():
    raise OSError("no ink")


def outside_the_sanity_check(trainer):
    if not trainer.sanity_checking:
        raise RuntimeError("the run's own")


# where and in which order


def test_all_is_drawn_and_written_in_one_thread_that_is_not_the_runs_own(monkeypatch):
    threads = set()
    write = FolderSink.write

    def seen(self, *args):
        threads.add(threading.current_thread())
        write(self, *args)

    monkeypatch.setattr(FolderSink, "write", seen)
    shown = Shown(lambda: threads.add(threading.current_thread()), on_error="raise")
    fit([*posttrain_suite(on_error="raise"), shown], max_epochs=2)
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_reports_are_written_in_the_order_of_the_callbacks_and_epochs(monkeypatch):
    written = []
    monkeypatch.setattr(FolderSink, "write", lambda self, tag, artifact, step: written.append((step, tag)))
    kinds = [ConfusionMatrix(name="a", on_error="raise"), GeneralizationGap(), ConfusionMatrix(name="b")]
    fit(kinds, max_epochs=3)
    order = [(step, tag.removesuffix("/confusion_matrix")) for step, tag in dict.fromkeys(written)]
    heads = [one for one in order if one[1] in ("val/a", "val/b", "gap/history")]
    assert heads == [
        (s, t) for e in range(3) for s, t in ((4 * e + 3, "val/a"), (4 * e + 3, "val/b"), (4 * e + 3, "gap/history"))
    ]


def test_training_goes_on_while_a_picture_is_drawn():
    begun = threading.Event()
    waited = []
    shown = Shown(lambda: waited.append(begun.wait(PATIENCE)), on_error="raise")
    again = At("on_train_batch_end", lambda trainer: begun.set() if trainer.current_epoch == 1 else None)
    fit([shown, again], max_epochs=2)
    assert waited == [True, True]


def test_a_report_waits_for_the_one_before_of_the_same_name():
    events = []
    second = threading.Event()

    class Noting(Shown):
        def summarize(self, module, evaluation, names):
            result = super().summarize(module, evaluation, names)
            if self.epoch == 1:
                second.set()
            return result

    def draw():
        second.wait(PATIENCE)
        time.sleep(0.1)
        events.append("drawn")

    noting = Noting(draw, on_error="raise")
    after = At("on_validation_end", lambda trainer: None if trainer.sanity_checking else events.append("reported"))
    fit([noting, after], max_epochs=2)
    assert events == ["reported", "drawn", "reported", "drawn"]


# what is there at the end


@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_all_files_and_events_are_there_when_the_run_returns(run, tmp_path):
    logger = TensorBoardLogger(tmp_path, name="board")
    trainer = toys.quiet(Shown(lambda: time.sleep(0.2), on_error="raise"), logger=logger)
    loaders = [toys.loader()] * (2 if run == "fit" else 1)
    getattr(trainer, run)(toys.Net(), *loaders, **({} if run == "fit" else {"verbose": False}))
    folder = tmp_path / "board" / "version_0" / "posttrain" / ("test" if run == "test" else "val")
    overhead = set() if run == "fit" else {"overhead.json", "overhead.csv"}
    assert {path.name for path in folder.iterdir()} == overhead | {
        "shown.json", "before.txt", "after.txt", "report.html", "report.md",
    }  # fmt: skip


def test_pictures_are_in_the_event_file_when_the_run_returns(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    slow = Shown(lambda: time.sleep(0.2))
    fit([slow, ConfusionMatrix(on_error="raise")], logger=logger)
    assert "val/confusion_matrix" in EventAccumulator(logger.log_dir).Reload().Tags()["images"]


class Stop(BaseException):
    """As an interrupt, no Exception."""


@pytest.fixture
def _interrupts():
    """Lightning ignores interrupts after one."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
@pytest.mark.parametrize(
    ("error", "seen"), [(RuntimeError, RuntimeError), (Stop, Stop), (KeyboardInterrupt, SystemExit), (None, None)]
)
def test_no_thread_and_no_wrapper_is_left_and_what_was_begun_is_written(error, seen, tmp_path):
    def end(trainer):
        if error is not None:
            raise error("the run's own")

    before = set(threading.enumerate()), warnings.showwarning, list(warnings.filters)
    callbacks = [*posttrain_suite(), Shown(lambda: time.sleep(0.2)), At("on_train_epoch_end", end)]
    logger = TensorBoardLogger(tmp_path, name="board")
    if seen is None:
        fit(callbacks, logger=logger)
    else:
        with pytest.raises(seen):
            fit(callbacks, logger=logger)
    assert (set(threading.enumerate()), warnings.showwarning, list(warnings.filters)) == before
    assert (tmp_path / "board" / "version_0" / "posttrain" / "val" / "after.txt").exists()
    assert "val/confusion_matrix" in EventAccumulator(logger.log_dir).Reload().Tags()["images"]


def test_one_trainer_runs_again_and_again():
    threads = []
    trainer = toys.quiet(Shown(lambda: threads.append(threading.current_thread()), on_error="raise"))
    for _ in range(2):
        trainer.validate(toys.Net(), toys.loader(), verbose=False)
    assert len(set(threads)) == 2


# what goes wrong


def test_an_error_is_warned_of_once_in_the_runs_own_thread(tmp_path, monkeypatch):
    threads = []
    warn = warnings.warn
    monkeypatch.setattr(warnings, "warn", lambda *a, **o: threads.append(threading.current_thread()) or warn(*a, **o))
    with pytest.warns(UserWarning, match="Shown could not draw: OSError: no ink") as caught:
        fit(Shown(fail), max_epochs=3)
    assert sum("no ink" in str(one.message) for one in caught) == 1
    assert set(threads) == {threading.current_thread()}
    assert (tmp_path / "posttrain" / "val" / "before.txt").exists()
    assert not (tmp_path / "posttrain" / "val" / "after.txt").exists()


def test_an_error_is_warned_of_at_the_next_report():
    said = []

    def draw():
        if shown.epoch == 0:
            fail()

    shown = Shown(draw)
    with pytest.warns(UserWarning, match="no ink") as caught:
        fit([shown, At("on_train_end", lambda trainer: said.extend(str(one.message) for one in caught))], max_epochs=3)
    assert any("no ink" in text for text in said)


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_error_is_raised_in_the_runs_own_thread_with_its_place(epochs):
    with pytest.raises(OSError, match="no ink") as caught:
        fit(Shown(fail, on_error="raise"), max_epochs=epochs)
    assert "fail" in [entry.name for entry in caught.traceback]


def test_an_error_is_raised_at_the_next_report_of_the_run():
    ended, gone_on = [], threading.Event()

    def fail_later():
        assert gone_on.wait(30)
        fail()

    go_on = At("on_train_batch_start", lambda trainer: gone_on.set() if trainer.current_epoch == 1 else None)
    note = At("on_exception", lambda trainer: ended.append(trainer.current_epoch))
    with pytest.raises(OSError, match="no ink"):
        fit([Shown(fail_later, on_error="raise"), go_on, note], max_epochs=5)
    assert ended == [1]


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_a_run_that_dies_keeps_its_own_exception(on_error, caplog):
    die = At("on_validation_epoch_end", outside_the_sanity_check)  # before anything else is written
    with warnings.catch_warnings(record=True) as said, caplog.at_level(logging.ERROR):
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="the run's own"):
            fit([Shown(fail, on_error=on_error), die])
    told = [str(one.message) for one in said] if on_error == "warn" else caplog.messages
    assert sum("no ink" in text for text in told) == 1


def test_also_where_warnings_are_errors(caplog):
    with pytest.raises(RuntimeError, match="the run's own"):
        fit([Shown(fail), At("on_validation_epoch_end", outside_the_sanity_check)])
    assert "no ink" in caplog.text


def test_what_a_renderer_warns_of_is_shown_in_the_runs_own_thread(monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append((args, threading.current_thread())))
    with warnings.catch_warnings():
        warnings.filterwarnings("once", message="faded")
        fit(Shown(lambda: warnings.warn("faded ink", stacklevel=1), on_error="raise"))
    ((message, category, filename, *_), thread) = shown[0]
    assert (str(message), category, filename) == ("faded ink", UserWarning, __file__)
    assert thread is threading.current_thread()
    assert len(shown) == 1


# the desk by itself


def test_the_warnings_of_other_threads_are_shown_at_once():
    writer, go = BackgroundWriter(), threading.Event()

    def job():
        warnings.warn("theirs", stacklevel=1)
        go.wait(PATIENCE)
        return ()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        writer.submit("a", job)
        warnings.warn("ours", stacklevel=1)
        assert [str(one.message) for one in caught] == ["ours"]
        go.set()
        writer.close()
    assert [str(one.message) for one in caught] == ["ours", "theirs"]


def test_a_wrapper_that_somebody_wrapped_hands_on(monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append("first"))
    writer = BackgroundWriter()
    writer.submit("a", tuple)
    ours = warnings.showwarning
    warnings.showwarning = lambda *args: shown.append("theirs") or ours(*args)
    writer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("seen by both", stacklevel=1)
    assert shown == ["theirs", "first"]


def test_a_value_that_is_drawn_later_is_not_the_state_of_a_metric():
    state = torch.zeros(3)
    value = flattened("sum", state)["sum"]
    state += 1
    assert not value.any()


def test_all_remarks_are_made_and_the_first_error_is_raised(caplog):
    made, go = [], threading.Event()

    def remark(name):
        made.append(name)
        raise ValueError(name)

    def job(name):
        go.wait(PATIENCE)
        return [partial(remark, name), partial(made.append, "more")]

    writer = BackgroundWriter()
    for name in "ab":
        writer.submit(name, partial(job, name))
    go.set()
    with pytest.raises(ValueError, match="a"):
        writer.close()
    assert made == ["a", "more", "b", "more"]
    assert caplog.messages == ["ValueError: b"]


def test_a_job_that_raises_is_no_loss():
    writer = BackgroundWriter()
    writer.submit("a", fail)
    with pytest.raises(OSError, match="no ink"):
        writer.close()


def test_at_most_one_job_of_a_name_waits():
    writer, running = BackgroundWriter(), SimpleNamespace(now=0, most=0)

    def job():
        time.sleep(0.01)
        running.now -= 1
        return ()

    for _ in range(20):
        writer.submit("a", job)
        running.now += 1
        running.most = max(running.most, running.now)
    writer.close()
    assert running.most <= 1


def test_a_desk_of_which_nothing_was_asked_makes_no_thread():
    before = threading.active_count()
    writer = BackgroundWriter()
    assert threading.active_count() == before
    writer.close()


def test_a_run_that_failed_waits_some_seconds_and_names_what_is_left(monkeypatch, caplog):
    monkeypatch.setattr("lightning_posttrain.core.output.background.PATIENCE", 0.1)
    go, began = threading.Event(), threading.Event()
    done = []

    def job(name):
        began.set()
        go.wait(PATIENCE)
        done.append(name)
        return ()

    writer = BackgroundWriter()
    for name in "abc":
        writer.submit(name, partial(job, name))
    began.wait(PATIENCE)
    start = time.monotonic()
    writer.close(quietly=True)
    assert time.monotonic() - start < 5
    assert caplog.messages == ["The run ends before all was drawn; not written: a, b, c."]
    assert writer.given_up()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "lightning_posttrain")
    go.set()
    thread.join(PATIENCE)
    assert done == ["a"]


def test_an_interrupt_ends_the_wait_of_a_run_that_is_over(caplog):
    writer, go, began = BackgroundWriter(), threading.Event(), threading.Event()
    writer.submit("a", lambda: began.set() or [go.wait(PATIENCE)][1:])
    began.wait(PATIENCE)
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    go.set()
    assert caplog.messages == ["The run ends before all was drawn; not written: a."]


def test_what_a_job_ends_the_process_with_is_raised():
    def leave():
        raise KeyboardInterrupt

    writer = BackgroundWriter()
    writer.submit("a", leave)
    with pytest.raises(KeyboardInterrupt):
        writer.close()


def test_the_last_job_is_done_where_there_was_another_one():
    done = []
    for jobs in (0, 2):
        writer = BackgroundWriter()
        for k in range(jobs):
            writer.submit(str(k), lambda k=k: done.append(k) or ())
        writer.close(last=lambda: done.append("last") or ())
    assert done == [0, 1, "last"]


INTERRUPTED = """
import os, signal, sys, threading, time
from tests.core import test_background as t
from tests import toys

def draw():
    if shown.epoch == 0:
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    time.sleep(3 * t.PATIENCE)

shown = t.Shown(draw)
wait = t.At("on_train_batch_start", lambda trainer: time.sleep(0.5) if trainer.current_epoch else None)
t.fit([shown, wait], max_epochs=100)
"""


@pytest.mark.slow
def test_an_interrupted_process_ends_though_a_picture_is_being_drawn(tmp_path):
    root = Path(__file__).parents[2]
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED],
        check=False, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert run.returncode == 1
    assert "not written: val/shown" in run.stderr
    assert time.monotonic() - start < PATIENCE


WATCHED = """
import importlib.abc, sys, threading
late = []
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith("lightning_posttrain") and threading.current_thread() is not threading.main_thread():
            late.append(name)
sys.meta_path.insert(0, Watch())
from tests import public_api, toys
kind = sys.argv[1]
listed = [callback for callback in public_api.callbacks() if type(callback).__name__ == kind][:1]
public_api.fitted(listed)
print(late)
"""


KINDS = sorted({type(callback).__name__ for callback in public_api.callbacks()})
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize("kind", SLOW)
def test_nothing_of_ours_is_imported_beside_the_main_thread(kind, tmp_path):
    """Workers that are forked meanwhile would wait for ever to import it."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-c", WATCHED, kind]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_seconds_of_the_cpu_are_told_while_a_job_runs_and_after_the_end():
    writer, begun, stop = BackgroundWriter(), threading.Event(), threading.Event()

    def busy():
        begun.set()
        while not stop.is_set():
            sum(range(1000))
        return []

    assert writer.cpu_seconds() == 0
    writer.submit("busy", busy)
    assert begun.wait(PATIENCE)
    readings = [writer.cpu_seconds()]
    while hasattr(time, "pthread_getcpuclockid") and readings[-1] < readings[0] + 0.02:
        readings.append(writer.cpu_seconds())
    stop.set()
    writer.close()
    assert readings == sorted(readings)
    assert writer.cpu_seconds() == writer.cpu_seconds() >= readings[-1]
