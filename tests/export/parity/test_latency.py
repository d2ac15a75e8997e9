"""Times of models, by a clock that the test moves."""

import math

import numpy as np
import pytest

from lightning_posttrain.export.parity.latency import Latency, latencies

ROWS = {"x": np.arange(5)}


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
            seen.append((name, batch["x"].tolist()))
            clock.now += slow[name] * len(batch["x"])

        return run

    return latencies({name: model(name) for name in slow}, rows, threads=1, clock=clock, **options), seen


def test_each_model_is_timed_at_each_batch_size():
    found, _ = timed({"eager": 1e-5, "onnx": 2e-5}, calls=60)
    assert found["eager"][1] == Latency(pytest.approx(1e-5), pytest.approx(1e-5), 60, 1)
    assert found["onnx"][64] == Latency(pytest.approx(128e-5), pytest.approx(128e-5), 60, 1)


def test_models_take_turns_and_get_the_same_rows_which_rotate():
    _, seen = timed({"a": 1e-5, "b": 1e-5}, sizes=(2,), calls=3)
    batches = [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4], [0, 1]]
    assert seen == [(name, batch) for batch in batches for name in ("a", "b")]


def test_a_percentile_wants_fifty_calls():
    assert math.isnan(Latency.of([1.0] * 49, 1).p95)
    seconds = np.random.default_rng(0).random(50)
    found = Latency.of(list(seconds), 2)
    assert (found.median, found.p95, found.threads) == (np.median(seconds), np.percentile(seconds, 95), 2)


def test_time_is_bounded_and_every_model_is_called():
    found, seen = timed({"a": 0.5, "b": 0.1}, sizes=(1,), seconds=2.0)
    assert found["a"][1].calls == found["b"][1].calls == 3
    assert len(seen) == 8
    slowest, _ = timed({"a": 60.0}, sizes=(1,))
    assert slowest["a"][1].calls == 1


def test_a_latency_comes_back_from_what_is_saved():
    for one in (Latency.of([1.0] * 3, 1), Latency.of([1.0] * 50, 1)):
        assert repr(Latency.from_dict(one.to_dict())) == repr(one)
