import json

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_posttrain.profile.counting import ActivationMemory, activation_memory
from tests.profile.counting.nets import NETS, made

MLP = 3 * 4  # bytes of one unit in a batch of three


def mlp():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))
    return net, torch.rand(3, 8)


def measured(net, batch):
    with torch.inference_mode():
        return activation_memory(net, lambda: net(batch), train_run=lambda: trained(net, batch))


def trained(net, batch):
    with torch.inference_mode(False), torch.enable_grad():
        return net(batch.clone())


def test_three_senses_of_memory_equal_counts_by_hand():
    memory = measured(*mlp())
    assert memory.made_in_all == MLP * (16 + 16 + 32 + 32 + 2)
    assert memory.alive_at_once == MLP * (32 + 32)
    # inputs of the three linear layers, which for two are what sigmoid and tanh keep of their outputs
    assert memory.kept_for_backward == MLP * (8 + 16 + 32)
    assert memory.reasons == {}


def test_views_and_work_in_place_make_nothing():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Unflatten(1, (4, 4)), nn.Flatten(), nn.Identity())
    batch = torch.rand(3, 8)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            memory = activation_memory(net, lambda: net(batch))
        assert memory.made_in_all == memory.alive_at_once == MLP * 16


@pytest.mark.parametrize("name", ["CNN", "ViT", "UNet", "LSTM", "BERT"])
def test_figures_do_not_depend_on_the_mode_and_keep_their_order(name):
    net, batch = made(name)
    found = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            memory = activation_memory(net, lambda: net(batch))
        found.append((memory.alive_at_once, memory.made_in_all))
    assert found[0][1] == found[1][1]
    # when the copies that a fused kernel is given are freed is its own affair
    assert found[0][0] == found[1][0] or name == "LSTM"
    assert all(0 < alive <= made_in_all for alive, made_in_all in found)


def test_parameters_and_buffers_are_no_activations():
    net = nn.BatchNorm1d(1000)
    batch = torch.rand(4, 1000)
    memory = measured(net.train(), batch)
    statistics = 2 * 4 * 1000  # mean and inverse deviation of the batch
    assert memory.kept_for_backward == 4 * 4 * 1000 + statistics


def test_recomputed_activations_are_not_kept():
    net, batch = mlp()
    batch.requires_grad_()
    plain = activation_memory(net, lambda: net(batch), train_run=lambda: net(batch))
    again = activation_memory(net, lambda: net(batch), train_run=lambda: checkpoint(net, batch, use_reentrant=False))
    assert again.kept_for_backward is None or again.kept_for_backward < plain.kept_for_backward


def test_a_backward_in_the_training_run_is_no_hindrance():
    net, batch = mlp()

    def run():
        trained(net, batch).sum().backward()

    memory = activation_memory(net, lambda: net(batch), train_run=run)
    assert memory.kept_for_backward == MLP * (8 + 16 + 32)
    expected = nn.Sequential(*net).requires_grad_()
    gradient = torch.autograd.grad(expected(batch).sum(), list(expected.parameters()))
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradient, strict=True))


def test_a_figure_that_cannot_be_had_says_why():
    net = nn.BatchNorm1d(4).train()
    one = torch.rand(1, 4)
    memory = activation_memory(net, lambda: net.eval()(one), train_run=lambda: net.train()(one))
    assert memory.kept_for_backward is None
    assert memory.reasons["kept_for_backward"].startswith("ValueError: Expected more than 1 value per channel")
    assert memory.alive_at_once > 0

    frozen = nn.Linear(4, 4).requires_grad_(False)
    memory = activation_memory(frozen, lambda: frozen(one), train_run=lambda: frozen(one))
    assert "nothing was kept" in memory.reasons["kept_for_backward"]

    memory = activation_memory(frozen, lambda: frozen(one.T))
    assert memory.alive_at_once is memory.made_in_all is None
    assert set(memory.reasons) == {"alive_at_once", "made_in_all", "kept_for_backward"}
    assert memory.reasons["kept_for_backward"] == "no forward in training was asked for"
    assert ActivationMemory.from_dict(json.loads(json.dumps(memory.to_dict()))) == memory


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_measuring_changes_no_output_and_leaves_no_mode(name):
    net, batch = made(name)
    heard = []
    with torch.inference_mode():
        expected = net(batch)
    with torch.inference_mode():
        activation_memory(net, lambda: heard.append(net(batch)), train_run=lambda: trained(net, batch))
    assert torch._C._len_torch_dispatch_stack() == 0
    torch.testing.assert_close(heard[0], expected, rtol=1e-6, atol=1e-6)
