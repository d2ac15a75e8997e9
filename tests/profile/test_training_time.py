"""Seconds of a run, and until a metric is as good as wanted, by times that the test gives."""

import math
import time

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_posttrain.profile.metric_history import POINTS, RECORDS, MetricHistory, Point
from lightning_posttrain.profile.training_time import NAMES, EpochSeconds, Reached, TrainingTime, monitored_modes
from tests import toys


def run(values, *, name="val/accuracy", modes=None, training=10.0, validation=2.0):
    """A run that trains and validates as long in each epoch and logs the values given."""
    timed, now = TrainingTime(modes), 1000.0
    timed.train_start(now)
    for epoch, value in enumerate(values):
        now += training
        timed.validation_start(now)
        now += validation
        step = 5 * (epoch + 1)
        timed.validation_end(now, epoch=epoch, step=step, values={name: value})
        timed.epoch_end(now, epoch=epoch, step=step, values={name: value})
    timed.train_end(now)
    return timed


def reloaded(state, folder):
    torch.save(state, folder / "state.pt")
    return torch.load(folder / "state.pt", weights_only=True)


def test_training_and_validation_are_counted_apart():
    timed = run([0.5] * 3)
    assert timed.seconds == {"training": 30, "validation": 6}
    assert timed.total == 36
    assert timed.epochs() == tuple(EpochSeconds(epoch, 10, 2) for epoch in range(3))


def test_rows_a_second_are_by_the_seconds_of_their_own_phase():
    timed = TrainingTime()
    timed.saw(1000)  # of a sanity check
    assert timed.rows == {"training": 0, "validation": 0}
    timed.train_start(0)
    timed.saw(64)
    timed.saw(36)
    timed.validation_start(4)
    timed.saw(30)
    timed.validation_end(5, epoch=0, step=1, values={})
    assert timed.rows == {"training": 100, "validation": 30}
    assert [timed.rows[phase] / timed.seconds[phase] for phase in ("training", "validation")] == [25, 30]


def test_a_validation_outside_of_a_fit_is_not_of_the_run():
    timed = TrainingTime()
    timed.validation_start(0)
    timed.saw(7)
    timed.validation_end(5, epoch=0, step=0, values={"val/loss": 1.0})
    timed.epoch_end(6, epoch=0, step=0, values={})
    timed.train_end(7)
    assert (timed.total, timed.rows["validation"], timed.epochs(), timed.curve("val/loss")) == (0, 0, (), ())


def test_a_target_is_met_where_the_metric_first_came_to_it():
    timed = run([0.5, 0.9, 0.8, 0.95])
    assert timed.seconds_to("val/accuracy", 0.9) == Reached(24, 1, 10)
    assert timed.seconds_to("val/accuracy", 0.91) == Reached(48, 3, 20)
    assert timed.seconds_to("val/accuracy", 0.5, "min") == Reached(12, 0, 5)


def test_a_target_that_is_not_met_is_told_with_the_best():
    reached = run([0.5, 0.9, 0.8]).seconds_to("val/accuracy", 0.99)
    assert reached == Reached(None, reason="'val/accuracy' did not come to 0.99; its best was 0.9, in epoch 1")


def test_a_target_that_is_never_logged_is_told_with_what_is():
    timed = run([0.5])
    assert timed.seconds_to("val/acc", 0.9).reason == (
        "'val/acc' was not logged by the end of a validation or an epoch; did you mean 'val/accuracy'? "
        "Logged: 'val/accuracy'"
    )
    assert timed.seconds_to("zzz", 0.9).reason.endswith("an epoch. Logged: 'val/accuracy'")
    timed.train_start(0)
    timed.epoch_end(1, epoch=1, step=9, values=dict.fromkeys("abcdefghijk", 1.0))
    assert timed.seconds_to("zzz", 0.9).reason.endswith(
        "Logged: 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j' and 2 more"
    )
    assert TrainingTime().seconds_to("val/acc", 0.9).reason.endswith("nor was anything else")
    assert timed.seconds_to_shares("val/acc")[99] == timed.seconds_to("val/acc", 1)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_shares_of_the_best_are_those_of_a_look_at_all_values(mode):
    values = np.random.default_rng(0).random(60) + 0.1
    timed = run(values, modes={"val/accuracy": mode})
    for percent, reached in timed.seconds_to_shares("val/accuracy").items():
        good = values >= values.max() * percent / 100 if mode == "max" else values <= values.min() * 100 / percent
        assert reached == Reached(12 * (int(good.argmax()) + 1), int(good.argmax()), 5 * (int(good.argmax()) + 1))


@pytest.mark.parametrize(("values", "mode"), [([-0.5, -0.2], "max"), ([0.5, 0.0], "min")])
def test_of_a_best_that_is_not_above_zero_there_are_no_shares(values, mode):
    reached = run(values, modes={"val/accuracy": mode}).seconds_to_shares("val/accuracy")[95]
    assert reached.seconds is None
    assert reached.reason.endswith("and only of a value above 0 there is a share to come to")


def test_a_mode_is_what_was_said_or_what_the_name_says():
    timed = TrainingTime({"val/loss": "max"})
    assert [timed.mode_of(name) for name in ("val/loss", "train_loss", "val/ErrorRate", "val/f1")] == [
        "max", "min", "min", "max",
    ]  # fmt: skip
    callbacks = [ModelCheckpoint(monitor="val/loss", mode="max"), EarlyStopping("val/loss", mode="min"), Callback()]
    assert monitored_modes(callbacks) == {"val/loss": "max"}


def test_values_that_are_no_numbers_and_repeats_are_left_out():
    timed = run([0.5, math.nan, 0.5, math.inf, 0.7])
    assert [point.value for point in timed.curve("val/accuracy")] == [0.5, 0.7]


def test_metrics_are_as_many_as_said_and_those_with_a_mode():
    timed = TrainingTime({"last": "min"})
    timed.train_start(0)
    values = {f"m{i}": 1.0 for i in range(NAMES + 5)} | {"last": 1.0}
    timed.epoch_end(1, epoch=0, step=1, values=values)
    assert timed.curve("last")
    assert len(timed.to_dict(2)["metrics"]) == NAMES + 1
    assert not timed.curve(f"m{NAMES}")


def test_a_long_history_is_bounded_and_a_target_is_met_late_and_never_early():
    generator, history = np.random.default_rng(0), MetricHistory()
    values = np.cumsum(generator.random(5000) - 0.45)
    for i, value in enumerate(values):
        history.add(Point(i, i, i, value))
    state = history.to_dict()
    assert len(state["max"]) == RECORDS
    assert POINTS <= len(history.curve.rows) <= 2 * POINTS + 1
    assert history.curve.rows[0] == (0, 0, 0, values[0])
    assert history.curve.rows[-1] == (4999, 4999, 4999, values[-1])
    assert history.best("max").value == values.max()
    grain = (values.max() - values[0]) / RECORDS * 3
    for target in np.linspace(values[0], values.max(), 50):
        truth, found = int((values >= target).argmax()), history.first(target, "max")
        assert found.seconds >= truth
        assert values[: int(found.seconds)].max(initial=-np.inf) <= target + grain


def test_epochs_of_a_long_run_are_means():
    timed = run([0.1 + i for i in range(1200)])
    epochs = timed.epochs()
    assert len(epochs) <= 2 * POINTS + 1
    assert {(one.training, one.validation) for one in epochs} == {(10, 2)}
    assert epochs[-1].epoch == 1199


@pytest.mark.parametrize("epochs", [0, 3, 700])
def test_a_run_goes_on_from_what_a_checkpoint_holds(epochs, tmp_path):
    timed = run([math.sin(i) for i in range(epochs)])
    again = TrainingTime()
    again.restore(reloaded(timed.to_dict(0), tmp_path))
    for one in (timed, again):
        one.train_start(5.0)
        one.epoch_end(9.0, epoch=epochs, step=0, values={"val/accuracy": 3.0})
    assert again.total == timed.total == epochs * 12 + 4
    assert again.epochs() == timed.epochs()
    assert again.curve("val/accuracy") == timed.curve("val/accuracy")
    assert again.seconds_to("val/accuracy", 2) == timed.seconds_to("val/accuracy", 2) == Reached(timed.total, epochs, 0)


def test_a_checkpoint_counts_what_is_under_way():
    timed = TrainingTime()
    timed.train_start(10)
    timed.validation_start(15)
    state = timed.to_dict(18)
    assert state["seconds"] == {"training": 5, "validation": 3}
    assert timed.seconds["validation"] == 0


GOOD = run([0.5, 0.9]).to_dict(0)
CURVE = GOOD["metrics"]["val/accuracy"]


@pytest.mark.parametrize(
    "part",
    [
        {"seconds": None}, {"seconds": {"training": -1.0, "validation": 0.0}}, {"rows": {"training": 0.5}},
        {"seconds": {"training": math.nan, "validation": 0.0}}, {"epochs": {}}, {"metrics": []},
        {"metrics": {"a": {"curve": CURVE["curve"]}}}, {"metrics": {"a": {**CURVE, "max": CURVE["max"].float()}}},
        {"metrics": {"a": {**CURVE, "min": CURVE["min"][:0]}}},
        {"metrics": {"a": {**CURVE, "max": CURVE["max"] * math.nan}}},
        {"metrics": {"a": {**CURVE, "max": CURVE["max"][:, :2]}}},
        {"epochs": {**GOOD["epochs"], "rows": GOOD["epochs"]["rows"][:0], "last": GOOD["epochs"]["last"][:0]}},
        {"epochs": {**GOOD["epochs"], "count": 0}},
    ],
)  # fmt: skip
def test_a_state_of_another_form_is_refused_and_changes_nothing(part):
    timed = run([0.3])
    before = repr(timed.to_dict(0))
    with pytest.raises(ValueError, match="wanted"):
        timed.restore({**GOOD, **part})
    assert repr(timed.to_dict(0)) == before
    timed.restore(GOOD)
    assert timed.total == 24


class Timed(Callback):
    """The hooks as a callback has them, one line each."""

    def __init__(self):
        self.time = TrainingTime()

    def moment(self, trainer):
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {"epoch": trainer.current_epoch, "step": trainer.global_step, "values": values}

    def on_train_start(self, trainer, pl_module):
        self.time.train_start(time.perf_counter())

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.time.saw(len(batch[0]))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.time.saw(len(batch[0]))

    def on_validation_start(self, trainer, pl_module):
        self.time.validation_start(time.perf_counter())

    def on_validation_end(self, trainer, pl_module):
        self.time.validation_end(time.perf_counter(), **self.moment(trainer))

    def on_train_epoch_end(self, trainer, pl_module):
        self.time.epoch_end(time.perf_counter(), **self.moment(trainer))

    def on_train_end(self, trainer, pl_module):
        self.time.train_end(time.perf_counter())

    def state_dict(self):
        return self.time.to_dict(time.perf_counter())

    def load_state_dict(self, state):
        self.time.restore(state)


def test_a_resumed_run_goes_on_in_seconds_rows_and_metrics(tmp_path):
    def fitted(epochs, path=None):
        timed = Timed()
        keep = ModelCheckpoint(tmp_path, save_last=True)
        trainer = toys.quiet([timed, keep], max_epochs=epochs, enable_checkpointing=True)
        start = time.perf_counter()
        trainer.fit(toys.Net(), toys.loader(), toys.loader(), ckpt_path=path)
        return timed.time, time.perf_counter() - start

    first, wall = fitted(2)
    assert 0.05 * wall < first.total < wall
    assert first.rows == {"training": 74, "validation": 74}
    second, more = fitted(4, tmp_path / "last.ckpt")
    assert 0 < second.total - first.total < more
    assert second.rows == {"training": 148, "validation": 148}
    assert [one.epoch for one in second.epochs()] == [0, 1, 2, 3]
    assert second.curve("val/loss")[:2] == first.curve("val/loss")
    assert [point.epoch for point in second.curve("val/loss")] == [0, 1, 2, 3]
    assert second.seconds_to("val/loss", 10.0).seconds == first.seconds_to("val/loss", 10.0).seconds
