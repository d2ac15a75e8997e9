import json

import pytest
import torch
from torch import nn

from lightning_posttrain.profile.counting import ParameterCount, architecture_of, parameter_count
from tests.profile.counting.nets import BATCH, NETS, made


@pytest.mark.parametrize("name", [name for name in NETS if name != "lazy"])
def test_parameters_equal_the_sum_over_distinct_ones(name):
    net, _ = made(name)
    count = parameter_count(net)
    distinct = {id(p): p for part in net.modules() for p in part.parameters(recurse=False)}.values()
    assert count.total == sum(p.numel() for p in distinct)
    assert count.trainable == sum(p.numel() for p in distinct if p.requires_grad)
    assert count.trainable + count.frozen == count.total
    assert count.parameter_bytes == 4 * count.total
    assert count.buffers == sum(b.numel() for b in net.buffers())
    assert count.buffer_bytes == sum(b.numel() * b.element_size() for b in net.buffers())
    assert count.unused is None
    assert count.notes == ()


def test_frozen_and_unused_ones_are_told():
    net, batch = made("partly")
    count = architecture_of(net, lambda: net(batch), rows=BATCH).parameters
    assert (count.total, count.frozen) == (72 + 10_100 + 72, 72)
    assert count.unused == ("unused.weight", "unused.bias")
    assert count.unused_total == 10_100
    assert set(count.tied) == {("layer.weight", "same.weight"), ("layer.bias", "same.bias")}


def test_parameters_that_trained_were_used():
    net, batch = made("partly")
    count = architecture_of(net, lambda: net(batch), rows=BATCH, trained={"unused.bias"}).parameters
    assert count.unused == ("unused.weight",)


def test_a_view_alone_does_not_use_a_parameter():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 3))
            self.other = nn.Parameter(torch.rand(3, 3))

        def forward(self, x):
            self.weight.detach().t()
            return x @ self.other.t()

    net = Looks()
    count = architecture_of(net, lambda: net(torch.rand(2, 3)), rows=2).parameters
    assert count.unused == ("weight",)


def test_every_parameter_of_a_used_network_was_read():
    for name in set(NETS) - {"partly"}:
        net, batch = made(name)
        if name != "projected LSTM":
            assert architecture_of(net, lambda n=net, b=batch: n(b), rows=BATCH).parameters.unused == (), name


def test_uninitialised_parameters_are_told_and_count_after_a_batch():
    net, batch = made("lazy")
    before = parameter_count(net)
    assert before.total == before.parameter_bytes == 0
    (note,) = before.notes
    assert note.startswith("not initialised before the first batch and not counted: 0.weight, 0.bias, 2.weight")
    after = architecture_of(net, lambda: net(batch), rows=BATCH).parameters
    assert after.total == 4 * 9 + 4 + 4 * 36 * 2 + 2
    assert (after.notes, after.unused) == ((), ())


def test_lazy_buffers_are_no_hindrance():
    net = nn.LazyBatchNorm1d()
    assert parameter_count(net).buffers == 1  # the number of batches


def test_parameters_without_numbers_count():
    count = parameter_count(nn.Linear(4, 3, device="meta"))
    assert count.total == 15
    assert count.notes == ("on the meta device, without numbers: weight, bias",)


def test_bytes_go_by_the_type():
    assert parameter_count(nn.Linear(4, 3).bfloat16()).parameter_bytes == 30
    assert parameter_count(nn.BatchNorm1d(4)).buffer_bytes == 4 * 4 + 4 * 4 + 8


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_convolutions_have_their_bytes_told():
    net = nn.Sequential(nn.Conv2d(1, 2, 3))
    net[0] = torch.ao.nn.quantized.Conv2d(1, 2, 3)
    (note,) = parameter_count(net).notes
    size = 2 * 9 + 2 * 4 + 4 + 8  # integers, the bias, the scale and the zero point of outputs
    assert f"but {size} bytes of its state: 0" in note


def test_sharded_parameters_count_whole_with_the_bytes_that_are_here():
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        net = nn.Linear(4, 6, bias=False)
        mesh = init_device_mesh("cpu", (2,))
        net.weight = nn.Parameter(distribute_tensor(net.weight.data, mesh, [Shard(0)]))
        count = parameter_count(net)
    finally:
        destroy_process_group()
    assert (count.total, count.parameter_bytes) == (24, 4 * 12)
    assert count.notes == ("sharded, counted whole, with this process's bytes: weight",)


def test_what_deepspeed_holds_elsewhere_counts_whole():
    net = nn.Linear(4, 6, bias=False)
    net.weight = nn.Parameter(torch.empty(0))
    net.weight.ds_numel = 24  # as its third stage leaves a parameter
    count = parameter_count(net)
    assert (count.total, count.parameter_bytes) == (24, 0)
    assert count.notes == ("partitioned by DeepSpeed, counted whole, with this process's bytes: weight",)


def test_a_module_that_says_it_is_sharded_is_told():
    class FullyShardedDataParallel(nn.Sequential):
        """As torch's, which needs processes."""

    (note,) = parameter_count(FullyShardedDataParallel(nn.Linear(2, 2))).notes
    assert note.startswith("sharded by FullyShardedDataParallel")


def test_what_was_saved_is_what_was_counted():
    net, batch = made("partly")
    for count in (parameter_count(net), architecture_of(net, lambda: net(batch), rows=BATCH).parameters):
        assert ParameterCount.from_dict(json.loads(json.dumps(count.to_dict()))) == count
