"""What ranks send each other, played through in one process."""

import torch

from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.stream.exchange import joined, rows_told, states_of
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.packing import allocate
from tests.played import join, played


class Rows(StreamMetric):
    def __init__(self):
        super().__init__(sync_on_compute=False)
        self.grow("rows", 2, torch.float32)
        self.grow("marks", 3, torch.uint8)
        self.count("number", 2, 2)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, batch):
        self.rows.append(batch)
        self.marks.append(torch.ones(len(batch), 3, dtype=torch.uint8))
        self.number += len(batch)
        self.total += float(batch.sum())

    def read(self, states):
        return Counted()


class Counts(StreamMetric):
    def __init__(self, *shape):
        super().__init__(sync_on_compute=False)
        self.count("a", *shape)
        self.count("b")

    def update(self, batch):
        self.a += batch
        self.b += 1

    def read(self, states):
        return Counted()


def test_a_rank_without_rows_takes_those_of_another_whatever_their_precision():
    """What ranks send has one size; a rank that has no rows knows only of float32."""
    theirs = torch.tensor([[1.0, 2.0], [3.0, 1 + 2.0**-40]], dtype=torch.float64)
    none, some = Rows(), Rows()
    some.update(theirs)
    join([[none], [some]])
    assert torch.equal(none.states()["rows"], theirs)


def test_rows_of_all_ranks_come_in_their_order_and_counts_are_summed():
    ranks = [[Rows(), Counts(3)] for _ in range(4)]
    batches = [torch.randn(n, 2) for n in (3, 0, 7, 2)]
    for rank, batch in enumerate(batches):
        if len(batch):
            ranks[rank][0].update(batch)
        ranks[rank][1].update(torch.arange(3) * rank)
    join(ranks)
    for rows, counts in ranks:
        states = rows.states()
        assert torch.equal(states["rows"], torch.cat(batches))
        assert torch.equal(states["marks"], torch.ones(12, 3, dtype=torch.uint8))
        assert torch.equal(states["number"], torch.full((2, 2), 12))
        assert float(states["total"]) == sum(float(batch.sum()) for batch in batches)
        assert counts.states()["a"].tolist() == [0, 6, 12]
        assert int(counts.states()["b"]) == 4


def test_what_a_rank_receives_is_what_all_have_and_not_ranks_times_the_most_of_one():
    ranks = [[Rows()] for _ in range(50)]
    ranks[7][0].update(torch.randn(1000, 2))
    bytes_sent = sum(message.nbytes for message in join(ranks))
    assert 1000 * (2 * 4 + 3) <= bytes_sent < 1000 * (2 * 4 + 3) + 200


def test_states_in_one_piece_of_memory_are_sent_as_they_lie():
    ranks = [[Counts(3), Counts(5, 2)] for _ in range(2)]
    for metrics in ranks:
        allocate(metrics, torch.device("cpu"))
        metrics[1].update(torch.ones(5, 2, dtype=torch.int64))
    memory = ranks[0][0].a.untyped_storage().data_ptr()
    exchange = joined(states_of(ranks[0]), 0)
    assert next(exchange).numbers.untyped_storage().data_ptr() == memory
    (message,) = join(ranks)
    assert message.tolist() == [0] * 4 + [1] * 11
    assert ranks[1][1].states()["a"].unique().tolist() == [2]


def test_a_reset_of_one_metric_leaves_the_counts_of_those_that_lie_beside_it():
    metrics = [Counts(3), Counts(3)]
    allocate(metrics, torch.device("cpu"))
    for metric in metrics:
        metric.update(torch.arange(3))
    metrics[0].reset()
    metrics[0].update(torch.ones(3, dtype=torch.int64))
    assert metrics[0].states()["a"].tolist() == [1, 1, 1]
    assert metrics[1].states()["a"].tolist() == [0, 1, 2]
    assert not metrics[0].state_dict()
    join([metrics, [Counts(3), Counts(3)]])
    assert metrics[0].states()["a"].tolist() == [1, 1, 1]


def test_how_many_rows_there_are_need_not_be_told_twice():
    ranks = [[Rows()] for _ in range(3)]
    for rank, (metric,) in enumerate(ranks):
        metric.update(torch.full((rank + 1, 2), float(rank)))
    told = torch.tensor([rows_told(states_of(metrics)) for metrics in ranks])
    played([joined(states_of(metrics), rank, told) for rank, metrics in enumerate(ranks)])
    for (metric,) in ranks:
        assert metric.states()["rows"][:, 0].tolist() == [0, 1, 1, 2, 2, 2]
