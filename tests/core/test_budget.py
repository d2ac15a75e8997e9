"""Optional work keeps to its share of a fit, by what it took, and what can be monitored is never left out."""

import json
import logging
import math
import random
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, SaliencyMaps, posttrain_suite
from lightning_posttrain.core.output.kinds import result_of
from lightning_posttrain.core.output.overhead import Overhead, Spending
from lightning_posttrain.core.stream import budget, stream
from lightning_posttrain.core.stream.budget import Budget
from lightning_posttrain.core.stream.costs import Costs, owner_of
from lightning_posttrain.core.stream.device_seconds import DeviceSeconds
from tests import toys

EPOCHS = 24


def spent_of(costs, epoch, share, epochs):
    """What a fit of equal epochs without optional work spends on it, by what each piece takes, and in how many."""
    own, elapsed, done = Budget(), 0.0, 0
    for number in range(epochs):
        elapsed += epoch
        own.settle(own.propose(number, [share], elapsed=elapsed))
        done += own.allows(share)
        for work, cost in costs.items() if own.allows(share) else ():
            own.charge(share, work, cost())
    return own.spent, elapsed, done


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("epoch", [0.01, 1.0, 30.0])
def test_what_is_spent_keeps_to_the_share_once_the_first_evaluation_is_paid_for(share, epoch, monkeypatch):
    monkeypatch.setattr(budget, "SHORT", 0.0)
    drawn = random.Random(0)
    costs = {"maps": lambda: drawn.uniform(0.8, 1.2), "pictures": lambda: 0.3}
    epochs = 2 + int(1.5 / (share * epoch)) * 20
    spent, elapsed, done = spent_of(costs, epoch, share, epochs)
    assert spent <= 1.25 * max(share * elapsed, 1.5)
    assert done == epochs or spent >= 0.75 * share * elapsed


def test_nothing_but_the_first_and_the_last_is_done_for_a_share_of_nothing():
    own, done = Budget(), []
    for number in range(9):
        own.settle(own.propose(number, [0.0], elapsed=1e6, last=number == 8))
        done.append(own.allows(0.0))
        own.charge(0.0, "maps", 1e-3)
    assert done == [True] + 7 * [False] + [True]
    assert (own.asked, own.left_out) == (9, 7)


def test_a_short_run_spends_what_one_of_a_minute_may():
    spent, elapsed, done = spent_of({"maps": lambda: 0.5}, 0.1, 0.1, 100)
    assert elapsed == pytest.approx(10)
    assert spent == 0.5 * done == 0.1 * budget.SHORT


def test_callbacks_of_another_share_have_a_budget_of_their_own_and_without_a_share_there_is_none():
    own = Budget()
    own.charge(0.1, "maps", 100.0)
    own.charge(None, "all", 100.0)
    own.settle(own.propose("now", [0.1, 0.2], elapsed=90.0))
    assert [own.allows(share) for share in (0.1, 0.2, None)] == [False, True, True]
    assert own.spent == 200


def test_what_is_decided_for_an_evaluation_holds_for_all_that_is_reported_of_it():
    own = Budget()
    own.settle(own.propose("epoch 0", [0.1], elapsed=1.0))
    own.charge(0.1, "maps", 1e6)
    assert own.propose("epoch 0", [0.1], elapsed=1.0) is None
    assert own.allows(0.1)
    assert own.asked == 1


def test_other_ranks_do_what_the_first_decides():
    own = Budget()
    own.charge(0.1, "maps", 1e6)
    assert own.propose("now", [0.1, 0.2], elapsed=1.0) == [False, True]
    own.settle([True, False])
    assert own.allows(0.1)
    assert not own.allows(0.2)


# in a fit, by a clock that a test winds


class Clock:
    """Seconds of the main thread, and of the CPU in the background."""

    def __init__(self):
        self.main = self.beside = 0.0


class Timed(toys.Net):
    """Takes so many seconds for a validation."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def on_validation_epoch_start(self):
        self.clock.main += self.seconds


class Settled(Callback):
    """Waits after each validation until all is drawn, so that its cost is known; and notes what can be monitored."""

    def __init__(self):
        self.monitored = []

    def on_validation_end(self, trainer, pl_module):
        for job in list(stream.EvaluationStream.of(trainer).writer._jobs.values()):
            job.exception(timeout=60)
        if not trainer.sanity_checking:
            self.monitored.append(set(trainer.callback_metrics))


def timed_fit(tmp_path, monkeypatch, seconds, *callbacks, epochs=EPOCHS, data=12, **options):
    """A fit whose maps take 0.3 s and reports 0.05 s: its record, the epochs with maps, what can be monitored."""
    clock, explained, settled = Clock(), [], Settled()

    def explain(self, sample_set, trainer):
        clock.main += 0.3
        explained.append(trainer.current_epoch)

    beside = Costs.beside

    def drawn(self, job, *about):
        def slower():
            clock.beside += 0.05
            return job()

        return beside(self, slower, *about)

    monkeypatch.setattr(budget, "SHORT", 0.0)
    monkeypatch.setattr(SaliencyMaps, "explained", explain)
    monkeypatch.setattr(Costs, "beside", drawn)
    wound = partial(Costs, now=lambda: clock.main, cpu=lambda: clock.beside)
    monkeypatch.setattr(stream, "Costs", wound)
    trainer = toys.quiet([*callbacks, settled], max_epochs=epochs, default_root_dir=tmp_path, **options)
    trainer.fit(Timed(clock, seconds), toys.loader(toys.images(data)), toys.loader(toys.images(data)))
    record = json.loads((tmp_path / "posttrain" / "fit" / "overhead.json").read_text(encoding="utf-8"))
    return result_of(record), explained, settled.monitored


@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_the_budget_of_a_fit_holds_for_a_fast_model_and_leaves_a_slow_one_all(seconds, tmp_path, monkeypatch):
    options = {"on_error": "raise", "max_overhead": 0.1}
    callbacks = [ClassificationMetrics(**options), ConfusionMatrix(**options), SaliencyMaps(**options)]
    found, explained, monitored = timed_fit(tmp_path, monkeypatch, seconds, *callbacks)
    each = 0.3 + 2 * 0.05
    base = EPOCHS * seconds
    assert found.evaluations == EPOCHS
    assert found.optional <= 1.25 * 0.1 * base + each  # the last is always done
    assert (found.left_out == 0) == (seconds == 20)
    assert found.optional >= 0.75 * 0.1 * base or not found.left_out
    assert explained[0] == 0
    assert explained[-1] == EPOCHS - 1
    assert len(explained) == EPOCHS - found.left_out
    assert len(monitored) == EPOCHS
    names = {"val/accuracy", "val/f1_macro", "val/log_loss", "val/mcc"}
    assert all(names <= logged for logged in monitored)
    maps = next(row for row in found.rows if row.name == "SaliencyMaps")
    assert maps.main == pytest.approx(0.3 * len(explained))


def test_files_and_loggers_have_the_last_pictures_of_a_run_that_stops_early(tmp_path, monkeypatch):
    stop = EarlyStopping("val/accuracy", patience=6, min_delta=1.0, mode="max")
    logger = TensorBoardLogger(tmp_path, name="", version="")
    options = {"on_error": "raise", "max_overhead": 0.0}
    callbacks = (ClassificationMetrics(**options), ConfusionMatrix(**options), stop)
    _, _, logged = timed_fit(tmp_path, monkeypatch, 0.1, *callbacks, logger=logger)
    last = len(logged) - 1
    assert last < EPOCHS - 1
    record = json.loads((tmp_path / "posttrain" / "val" / "confusion_matrix.json").read_text(encoding="utf-8"))
    assert record["epoch"] == last


def test_a_figure_of_maps_that_is_monitored_has_its_maps_each_time(tmp_path, monkeypatch):
    maps = SaliencyMaps(max_overhead=0.0, on_error="raise")
    monkeypatch.setattr(budget, "SHORT", 0.0)
    stop = EarlyStopping("val/saliency/entropy", patience=100)
    toys.quiet([maps, stop], max_epochs=3, default_root_dir=tmp_path).fit(toys.Net(), toys.loader(), toys.loader())
    assert not math.isnan(maps.results["val"].figures["saliency/drift"])


def test_what_was_left_out_is_told_with_the_cure(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.INFO):
        found, *_ = timed_fit(tmp_path, monkeypatch, 0.1, SaliencyMaps(max_overhead=0.05), epochs=5)
    (said,) = [r.getMessage() for r in caplog.records if "max_overhead" in r.getMessage()]
    assert said.startswith(
        "lightning_posttrain: pictures, tables, intervals and explanations were left out in 3 of 5 evaluations of the "
        "fit, to keep to max_overhead=0.05 of its seconds; the first and the last have them, and max_overhead=None"
    )
    assert found.left_out == 3
    caplog.clear()
    with caplog.at_level(logging.INFO):
        found, explained, _ = timed_fit(tmp_path, monkeypatch, 0.1, SaliencyMaps(max_overhead=None), epochs=5)
    assert explained == [0, 1, 2, 3, 4]
    assert found.left_out == 0
    assert not [r for r in caplog.records if "max_overhead" in r.getMessage()]


def test_a_test_and_a_validation_by_itself_have_all_and_their_seconds(tmp_path):
    suite = posttrain_suite(max_overhead=0.0, on_error="raise")
    trainer = toys.quiet(suite, default_root_dir=tmp_path)
    for run, place in ((trainer.validate, "val"), (trainer.test, "test"), (trainer.test, "test")):
        run(toys.Net(), toys.loader(), verbose=False)
        record = json.loads((tmp_path / "posttrain" / place / "overhead.json").read_text(encoding="utf-8"))
        found = result_of(record)
        assert {row.name for row in found.rows} >= {type(one).__name__ for one in suite}
        assert sum(row.share for row in found.rows) < 1
        assert found.notes == ()
        assert (tmp_path / "posttrain" / place / "saliency.png").exists()


def test_a_share_below_nothing_is_refused():
    with pytest.raises(ValueError, match=r"`max_overhead` is -0\.1, wanted at least 0"):
        posttrain_suite(max_overhead=-0.1)


# seconds of a device, by events that are a test's


class Event:
    """Happens when the device comes to it."""

    queue: ClassVar[list] = []

    def __init__(self, enable_timing):
        self.at, self.happened = None, False

    def record(self):
        self.queue.append(self)

    def query(self):
        return self.happened

    def elapsed_time(self, other):
        assert self.happened
        assert other.happened
        return 1000 * (other.at - self.at)


def test_seconds_of_a_device_are_those_between_its_events_and_wait_for_none(monkeypatch):
    monkeypatch.setattr(Event, "queue", [])
    cuda = SimpleNamespace(Event=Event)
    device = DeviceSeconds(torch.device("cuda"), cuda)
    for _ in range(2):
        with device.bracket("reading"):
            pass
    with device.bracket("maps"):
        pass
    for number, event in enumerate(Event.queue[:4]):
        event.at, event.happened = 0.5 * number, True
    assert device.read() == {"reading": 1.0}
    for event, at in zip(Event.queue[4:], (7.0, 9.0), strict=True):
        event.at, event.happened = at, True
    assert device.read() == {"reading": 1.0, "maps": 2.0}
    assert DeviceSeconds(torch.device("cpu")).read() is None


def test_no_more_events_are_held_than_have_yet_to_happen(monkeypatch):
    monkeypatch.setattr(Event, "queue", [])
    device = DeviceSeconds(torch.device("cuda"), SimpleNamespace(Event=Event))
    for number in range(5000):
        with device.bracket("reading"):
            pass
        for event in Event.queue[2 * number :]:
            event.at, event.happened = 0.001 * number, True
    assert len(device._open) <= 1024


def test_seconds_are_those_of_the_callback_whose_they_are():
    assert owner_of("[Callback]ConfusionMatrix{'name': 'a.b'}.observe") == "[Callback]ConfusionMatrix{'name': 'a.b'}"
    assert owner_of("lightning_posttrain: reading") == "lightning_posttrain: reading"
    found = Overhead(10.0, (Spending("A", 2.0, 0.2, 1.23456, 0.5),), 3.0, (0.1,), 4, 1)
    assert found.table().columns[-1] == "device, s"
    assert found.table().rows == (("A", 2.0, 0.2, 1.23, 0.5),)
