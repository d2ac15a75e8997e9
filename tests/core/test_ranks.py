from types import SimpleNamespace

import torch

from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.ranks import sum_over_ranks


class Rows(StreamMetric):
    def __init__(self):
        super().__init__(sync_on_compute=False)
        self.grow("rows", 2, torch.float32)

    def update(self, batch):
        self.rows.append(batch)

    def read(self, states):
        return Counted()


def test_a_rank_without_rows_takes_those_of_another_whatever_their_precision():
    """The ranks' collectives need tensors of one type; a rank that has none knows only of float32."""
    theirs = torch.tensor([[1.0, 2.0], [3.0, 1 + 2.0**-40]], dtype=torch.float64)
    sent = []

    def all_gather(mine):
        sent.append(mine)
        return torch.stack([mine, theirs])

    strategy = SimpleNamespace(
        root_device=torch.device("cpu"),
        reduce=lambda mine, reduce_op: torch.maximum(mine, torch.tensor([2, 8])),
        all_gather=all_gather,
    )
    metric = Rows()
    sum_over_ranks(SimpleNamespace(world_size=2, strategy=strategy), [metric])
    assert sent[0].dtype == torch.float64
    assert torch.equal(metric.states()["rows"], torch.cat([torch.zeros(2, 2), theirs]))
