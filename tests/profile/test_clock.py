"""Seconds of actions, by a clock that the test moves, and around Trainers."""

import copy
import math
import pickle
import signal

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, SimpleProfiler

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, HardExamples, posttrain_suite
from lightning_posttrain.core.stream.accounts import NOWHERE, Account, Seconds
from lightning_posttrain.core.stream.booking import READING
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.profile.clock.actions import meanings
from lightning_posttrain.profile.clock.clock import Clock
from lightning_posttrain.profile.clock.spent import accounted, spent
from tests import toys


class Now:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def now():
    return Now()


class Clocked(Callback):
    """A clock around a run, as a callback has one."""

    def __init__(self):
        self.clock = Clock()
        self.rows = {}

    def setup(self, trainer, pl_module, stage):
        self.clock.place(trainer.profiler)
        EvaluationStream.of(trainer).book(self.clock.bracket)

    def on_fit_end(self, trainer, pl_module):
        rows = spent(self.clock, EvaluationStream.of(trainer).writer.cpu_seconds())
        assert math.fsum(row.share for row in rows[:-1]) == pytest.approx(1)
        assert accounted(rows) <= 1
        self.rows = {row.name: row for row in rows}

    on_validation_end = on_test_end = on_fit_end

    def teardown(self, trainer, pl_module, stage):
        self.clock.give_back()
        assert names(trainer.profiler) == {}

    def on_exception(self, trainer, pl_module, exception):
        self.clock.give_back()


def names(profiler):
    return {name: value for name, value in vars(profiler).items() if name in ("profile", "start", "stop")}


def test_an_action_has_its_own_seconds_and_not_those_inside_it(now):
    clock, profiler = Clock(now), PassThroughProfiler()
    clock.place(profiler)
    now.now += 1
    with profiler.profile("outer") as said:
        assert said == "outer"
        now.now += 2
        for _ in range(3):
            with profiler.profile("inner"):
                now.now += 4
        now.now += 8
    now.now += 16
    assert dict(clock.read().accounts) == {NOWHERE: Account(17, 1), "outer": Account(10, 1), "inner": Account(12, 3)}
    assert clock.read().wall == 39


def test_figures_can_be_read_inside_an_action_and_stay_as_they_are_after_the_end(now):
    clock, profiler = Clock(now), PassThroughProfiler()
    clock.place(profiler)
    with profiler.profile("outer"):
        now.now += 2
        assert clock.read() == Seconds(2, {NOWHERE: Account(0, 1), "outer": Account(2, 1)})
        now.now += 3
        clock.give_back()
        now.now += 7
    assert clock.read() == Seconds(5, {NOWHERE: Account(0, 1), "outer": Account(5, 1)})
    assert names(profiler) == {}


def test_every_moment_is_counted_once_whatever_raises_and_whatever_is_left_open(now):
    clock, profiler = Clock(now), PassThroughProfiler()
    clock.place(profiler)

    def step():
        with profiler.profile("step"):
            now.now += 1
            profiler.start("optimizer_step")
            now.now += 2
            raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"):
            step()
        now.now += 4
    profiler.stop("never started")
    seconds = {name: account.seconds for name, account in clock.read().accounts.items()}
    assert seconds == {NOWHERE: 8, "step": 2, "optimizer_step": 4}


def test_what_is_started_and_stopped_is_an_action(now):
    clock, profiler = Clock(now), PassThroughProfiler()
    clock.place(profiler)
    profiler.start("next")
    now.now += 3
    profiler.stop("next")
    now.now += 5
    assert {name: one.seconds for name, one in clock.read().accounts.items()} == {NOWHERE: 5, "next": 3}


def test_a_second_run_begins_at_zero(now):
    clock, profiler = Clock(now), PassThroughProfiler()
    for _ in range(2):
        clock.place(profiler)
        with profiler.profile("a"):
            now.now += 1
        assert clock.read().accounts["a"] == Account(1, 1)
    clock.give_back()
    clock.give_back()
    assert names(profiler) == {}


@pytest.mark.parametrize("make", [PassThroughProfiler, SimpleProfiler, AdvancedProfiler])
def test_two_clocks_on_one_profiler_both_count_and_both_go(now, make):
    """As where a Trainer is started inside another one with the same profiler."""
    first, second, profiler = Clock(now), Clock(now), make()
    first.place(profiler)
    second.place(profiler)
    with profiler.profile("a"):
        now.now += 1
    second.give_back()
    with profiler.profile("b"):
        now.now += 2
    first.give_back()
    assert {name: one.seconds for name, one in first.read().accounts.items()} == {NOWHERE: 0, "a": 1, "b": 2}
    assert {name: one.seconds for name, one in second.read().accounts.items()} == {NOWHERE: 0, "a": 1}
    assert names(profiler) == {}


def test_a_profiler_of_the_users_own_that_brackets_in_its_own_way_keeps_doing_so(now):
    class Own(SimpleProfiler):
        def profile(self, action_name):
            seen.append(action_name)
            return super().profile(action_name)

    seen, clock, profiler = [], Clock(now), Own()
    clock.place(profiler)
    with profiler.profile("a"):
        now.now += 1
    clock.give_back()
    assert seen == ["a"] == list(profiler.recorded_durations)
    assert clock.read().accounts["a"].seconds == clock.read().wall == 1


def test_a_copy_of_a_profiler_under_a_clock_counts_for_a_copy_of_the_clock():
    clock, profiler = Clock(), PassThroughProfiler()
    clock.place(profiler)
    for copied in (copy.deepcopy(profiler), pickle.loads(pickle.dumps(profiler))):
        with copied.profile("of the copy"):
            pass
    assert set(clock.read().accounts) == {NOWHERE}
    clock.give_back()
    assert names(profiler) == {}


def fitted(*callbacks, module=None, **options):
    torch.manual_seed(0)
    trainer = toys.quiet(list(callbacks), max_epochs=2, **options)
    net = module or toys.Net()
    trainer.fit(net, toys.loader(), toys.loader())
    return trainer, net


def test_a_run_is_accounted_for_by_callback_and_by_what_lightning_does():
    watch = Clocked()
    trainer, _ = fitted(watch, ClassificationMetrics(), ConfusionMatrix(name="a"), ConfusionMatrix(name="b"))
    expected = {
        "ClassificationMetrics": "callback", "ConfusionMatrix (a)": "callback", "ConfusionMatrix (b)": "callback",
        "Clocked": "callback", "shared reading of batches": "reading", "waiting for data": "data",
        "transfer to the device": "transfer", "training step": "step", "backward": "step", "optimizer step": "step",
        "validation step": "step", "hooks of the module": "module", "strategy": "strategy",
        "Lightning's training loop, and loggers": "loops", "Lightning, between its brackets": "outside",
        "background drawing and writing (CPU, beside the run)": "background",
    }  # fmt: skip
    assert {name: row.kind for name, row in watch.rows.items()} == expected
    assert watch.rows["training step"].calls == watch.rows["backward"].calls == 8
    assert watch.rows["background drawing and writing (CPU, beside the run)"].seconds > 0
    assert names(trainer.profiler) == {}
    trainer.test(toys.Net(), toys.loader(), verbose=False)
    assert watch.rows["test step"].calls == 4
    assert "training step" not in watch.rows
    assert names(trainer.profiler) == {}


@pytest.mark.parametrize(
    ("action", "kind", "name"),
    [
        ("[Callback]Outer.Inner.on_train_start", "callback", "Inner"),
        ("[Callback]ModelCheckpoint{'monitor': 'val.loss', 'name': 3}.on_train_start", "callback", "ModelCheckpoint"),
        ("[Callback]Odd{not Python}.on_train_start", "callback", "Odd"),
        ("[Callback]Own_next", "callback", "Own_next"),
        ("[_EvaluationLoop].val_next", "data", "waiting for data"),
        ("[LightningModule]Net.transfer_batch_to_device", "transfer", "transfer to the device"),
        ("[LightningModule]Net.on_after_batch_transfer", "module", "hooks of the module"),
        ("[LightningDataModule]Data.train_dataloader", "module", "hooks of the data module"),
        ("[Strategy]DDPStrategy.predict_step", "step", "prediction step"),
        ("[Strategy]DDPStrategy.on_train_start", "strategy", "strategy"),
        ("optimizer_step", "step", "optimizer step"),
        ("my own bracket", "other", "my own bracket"),
    ],
)
def test_what_an_action_means_follows_from_its_name(action, kind, name):
    assert meanings([action]) == {action: (kind, name)}


def test_what_the_stream_does_for_all_is_not_booked_on_the_callback_that_comes_first():
    watch = Clocked()
    fitted(watch, ClassificationMetrics(), HardExamples())
    accounts = watch.clock.read().accounts
    assert accounts[READING].calls > 2 * 2 * 4  # listening and adding in each step of two validations
    assert accounts["[Callback]HardExamples{'name': None}.observe"].calls == 2 * 4


def test_weights_are_those_of_a_run_without_a_clock():
    (_, without), (_, under) = fitted(*posttrain_suite()), fitted(Clocked(), *posttrain_suite())
    for name, value in without.state_dict().items():
        assert torch.equal(under.state_dict()[name], value), name


def test_a_profiler_that_the_user_chose_has_the_records_that_it_has_without_us():
    def records(*callbacks):
        trainer, _ = fitted(*callbacks, ClassificationMetrics(), profiler=SimpleProfiler())
        durations = trainer.profiler.recorded_durations
        return {name: len(times) for name, times in durations.items() if "Clocked" not in name}

    watch = Clocked()
    assert records(watch) == records()
    assert watch.rows["training step"].calls == 8


class Stops(LightningModule):
    def __init__(self, error):
        super().__init__()
        self.net, self.error = torch.nn.Linear(64, 4), error

    def training_step(self, batch, batch_idx):
        raise self.error

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_run_that_fails_or_is_interrupted_leaves_the_profiler_as_it_was(error):
    profiler, interrupt = PassThroughProfiler(), signal.getsignal(signal.SIGINT)
    with pytest.raises((RuntimeError, SystemExit)):
        toys.quiet([Clocked()], profiler=profiler).fit(Stops(error), toys.loader())
    signal.signal(signal.SIGINT, interrupt)  # an interrupted Trainer leaves it off
    assert names(profiler) == {}


class WithRate(toys.Net):
    lr = 0.1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def test_steps_of_a_search_for_a_learning_rate_count_as_steps():
    watch = Clocked()
    finder = LearningRateFinder(num_training_steps=5, attr_name="lr")
    trainer, _ = fitted(watch, finder, ModelCheckpoint(), module=WithRate(), enable_checkpointing=True)
    assert watch.rows["training step"].calls > 8
    assert watch.rows["LearningRateFinder"].seconds > 0
    assert watch.rows["saving of checkpoints"].calls >= 2
    assert names(trainer.profiler) == {}


def test_another_trainer_inside_a_hook_counts_for_the_hook_and_takes_nothing_away():
    watch = Clocked()

    class Starts(Callback):
        def on_train_start(self, trainer, pl_module):
            fitted(Clocked())

    trainer, _ = fitted(watch, Starts())
    assert watch.rows["training step"].calls == 8
    assert watch.rows["Starts"].seconds > watch.rows["optimizer step"].seconds
    assert names(trainer.profiler) == {}
