"""Rows that wait are answered together, each by itself."""

import asyncio
import threading

import numpy as np
import pytest

from lightning_posttrain.serving.batching import Batcher
from lightning_posttrain.serving.limits import Limits
from lightning_posttrain.serving.refusal import ClientGoneError, RefusedError
from lightning_posttrain.serving.running import Failure
from tests.serving.models import Outputs


class Model:
    """Doubles its rows; waits for `go`, fails on negative numbers, gives NaN for those above 100."""

    def __init__(self):
        self.go, self.batches = threading.Event(), []
        self.go.set()

    def run(self, inputs):
        assert self.go.wait(20)
        x = inputs["x"]
        self.batches.append(x.copy())
        if (x < 0).any():
            raise RuntimeError("negative")
        flat = x.reshape(len(x), -1)
        return Outputs(np.where(flat > 100, np.nan, 2 * flat), flat[:, 0].astype("int64"))


def here():
    return False


def row(*values):
    return {"x": np.array(values, "float32")}


def first(outcome):
    return outcome if isinstance(outcome, Failure) else float(outcome[0][0])


def run(work, **limits):
    """What a coroutine function gives that is called with a batcher and its model."""
    model = Model()

    async def main():
        told = []
        batcher = Batcher(model.run, Limits(**limits), told.extend)
        try:
            return await work(batcher, model)
        finally:
            model.go.set()

    return asyncio.run(main())


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_waits_while_the_model_runs_is_one_batch():
    async def work(batcher, model):
        model.go.clear()
        asked = [asyncio.create_task(batcher.answers([row(0)], here))]
        await settled()
        asked += [asyncio.create_task(batcher.answers([row(i)], here)) for i in range(1, 101)]
        await settled()
        waiting = batcher.waiting_rows
        model.go.set()
        found = await asyncio.gather(*asked)
        return waiting, [first(one[0]) for one in found], [len(batch) for batch in model.batches], batcher

    waiting, found, batches, batcher = run(work)
    assert waiting == 100
    assert found == [2.0 * i for i in range(101)]
    assert batches == [1, 64, 36]
    assert (batcher.waiting_rows, batcher.waiting_bytes) == (0, 0)


def test_requests_that_come_at_the_same_moment_are_one_batch():
    async def work(batcher, model):
        await asyncio.gather(*(batcher.answers([row(i)], here) for i in range(8)))
        return [len(batch) for batch in model.batches]

    assert run(work) == [8]


def test_rows_of_one_request_keep_their_order_over_batches():
    async def work(batcher, model):
        found = await batcher.answers([row(i / 2) for i in range(200)], here)
        return [first(one) for one in found], [len(batch) for batch in model.batches]

    assert run(work) == ([float(i) for i in range(200)], [64, 64, 64, 8])


def test_a_row_that_the_model_fails_on_costs_itself_alone(caplog):
    async def work(batcher, model):
        values = [1, -1, 3, 200, 5]
        return [first(one[0]) for one in await asyncio.gather(*(batcher.answers([row(v)], here) for v in values))]

    one, failed, three, not_finite, five = run(work)
    assert (one, three, five) == (2, 6, 10)
    assert "RuntimeError" in failed.reason
    assert "negative" not in failed.reason
    assert "not finite" in not_finite.reason
    assert "negative" in caplog.text


def test_only_equal_shapes_are_run_together_and_take_turns():
    async def work(batcher, model):
        lengths = [1, 2, 1, 3, 2, 1]
        rows = [row(*range(1, n + 1)) for n in lengths]
        found = await batcher.answers(rows, here)
        return [outcome[0].shape for outcome in found], [batch.shape for batch in model.batches]

    shapes, batches = run(work)
    assert shapes == [(1,), (2,), (1,), (3,), (2,), (1,)]
    assert batches == [(3, 1), (2, 2), (1, 3)]


def test_a_common_shape_lets_a_rare_one_have_its_turn():
    async def work(batcher, model):
        await batcher.answers([*[row(1)] * 10, row(1, 2)], here)
        return [batch.shape for batch in model.batches]

    assert run(work, batch_rows=4) == [(4, 1), (1, 2), (4, 1), (2, 1)]


def test_a_row_whose_client_is_gone_is_left_out():
    async def work(batcher, model):
        model.go.clear()
        running = asyncio.create_task(batcher.answers([row(1)], here))
        await settled()
        gone = asyncio.create_task(batcher.answers([row(2)], lambda: True))
        cancelled = asyncio.create_task(batcher.answers([row(3)], here))
        stays = asyncio.create_task(batcher.answers([row(4)], here))
        await asyncio.sleep(0.06)
        cancelled.cancel()
        model.go.set()
        found = await asyncio.gather(running, gone, cancelled, stays, return_exceptions=True)
        return found, [float(x) for batch in model.batches for x in batch[:, 0]]

    (_, gone, cancelled, stays), asked = run(work)
    assert isinstance(gone, ClientGoneError)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert first(stays[0]) == 8
    assert asked == [1, 4]


def test_more_rows_than_may_wait_are_refused_until_there_is_room():
    async def work(batcher, model):
        model.go.clear()
        running = asyncio.create_task(batcher.answers([row(1)], here))
        await settled()
        waiting = [asyncio.create_task(batcher.answers([row(i)], here)) for i in range(4)]
        await settled()
        with pytest.raises(RefusedError, match="4 rows wait, and 1 more") as caught:
            await batcher.answers([row(5)], here)
        waiting[0].cancel()
        await settled()
        later = asyncio.create_task(batcher.answers([row(6)], here))
        await settled()
        model.go.set()
        found = await asyncio.gather(running, *waiting[1:], later)
        return caught.value, first(found[-1][0])

    refused, later = run(work, waiting_rows=4)
    assert (refused.status, refused.headers) == (503, {"Retry-After": "1"})
    assert later == 12


def test_rows_of_more_bytes_than_may_wait_are_refused():
    async def work(batcher, model):
        with pytest.raises(RefusedError, match="too many"):
            await batcher.answers([row(*range(100))], here)
        return [first(one) for one in await batcher.answers([row(1)], here)]

    assert run(work, waiting_bytes=200) == [2]


def test_a_model_that_gives_other_rows_than_asked_is_a_failure(caplog):
    async def main():
        batcher = Batcher(lambda inputs: Outputs(np.ones((3, 2)), np.ones(3)), Limits(), lambda found: None)
        return await batcher.answers([row(1), row(2)], here)

    found = asyncio.run(main())
    assert [type(one) for one in found] == [Failure, Failure]
    assert "1 rows gave 3 probabilities" in caplog.text
