"""Times of models, by a clock that the test moves."""

import json
import math

import numpy as np
import pytest

from lightning_posttrain.core.statistics.latency import Latency, Times, host_timer, latencies, rotating

ROWS = np.arange(5)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def timed(slow, *, rows=ROWS, **options):
    """Latencies of models that take the seconds given for a row; and the batches that each got, in order."""
    clock, seen = Clock(), []

    def model(name):
        def run(batch):
            seen.append((name, batch.tolist()))
            clock.now += slow[name] * len(batch)

        return run

    models = {name: model(name) for name in slow}
    found = latencies(
        models, lambda size: (rows[i] for i in rotating(len(rows), size)), threads=1, clock=clock, **options
    )
    return found, seen


def test_each_model_is_timed_at_each_batch_size():
    found, _ = timed({"eager": 1e-5, "onnx": 2e-5}, calls=100)
    for (name, size), seconds in {("eager", 1): 1e-5, ("onnx", 64): 128e-5}.items():
        one = found[name][size]
        assert (one.median, one.p95, one.calls, one.threads) == (pytest.approx(seconds), pytest.approx(seconds), 100, 1)
        assert math.isnan(one.p99)
        assert math.isnan(one.host)


def test_models_take_turns_and_get_the_same_rows_which_rotate():
    _, seen = timed({"a": 1e-5, "b": 1e-5}, sizes=(2,), calls=3)
    batches = [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4], [0, 1]]
    assert seen == [(name, batch) for batch in batches for name in ("a", "b")]


@pytest.mark.parametrize(("percentile", "enough"), [("p95", 100), ("p99", 1000)])
def test_a_percentile_wants_its_calls(percentile, enough):
    seconds = np.random.default_rng(0).random(enough)
    assert math.isnan(getattr(Latency.of(seconds[1:].tolist(), 1), percentile))
    found = Latency.of(seconds.tolist(), 2)
    assert (found.median, found.threads) == (np.median(seconds), 2)
    assert getattr(found, percentile) == np.percentile(seconds, int(percentile[1:]))


def test_time_is_bounded_and_every_model_is_called():
    found, seen = timed({"a": 0.5, "b": 0.1}, sizes=(1,), seconds=2.0)
    assert found["a"][1].calls == found["b"][1].calls == 3
    assert len(seen) == 8
    slowest, _ = timed({"a": 60.0}, sizes=(1,))
    assert slowest["a"][1].calls == 1


def test_a_latency_comes_back_from_what_is_saved():
    for one in (Latency.of([1.0] * 3, 1), Latency.of([1.0] * 100, 1), Latency.of([1.0] * 1000, 1, host=2.0)):
        saved = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        assert repr(Latency.from_dict(saved)) == repr(one)


def test_a_record_without_a_99th_percentile_is_read():
    old = Latency.from_dict({"median": 1e-3, "p95": None, "calls": 40, "threads": 1})
    assert repr(old) == repr(Latency.of([1e-3] * 40, 1))


def test_a_device_is_waited_for_before_a_call_and_for_its_result():
    clock, told = Clock(), []

    def synchronize():
        told.append("wait")
        clock.now += 1

    def call():
        told.append("call")
        clock.now += 2

    assert host_timer(clock, synchronize)(call).seconds == 3
    assert told == ["wait", "call", "wait"]


def test_seconds_of_a_device_stand_beside_those_of_the_host():
    def by_device(call):
        call()
        return Times(1.0, 3.0)

    found, _ = timed({"a": 1e-6}, sizes=(1,), calls=5, timer=by_device)
    assert (found["a"][1].median, found["a"][1].host, found["a"][1].calls) == (1.0, 3.0, 5)
