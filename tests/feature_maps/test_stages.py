from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lightning_posttrain.attribution import gradient_session
from lightning_posttrain.feature_maps.stages import check_layers, find_stages
from lightning_posttrain.feature_maps.trace import laid_out, trace
from tests.feature_maps import networks


def names(net, *shape, **options):
    return [call.name for call in stages(net, *shape, **options)]


def stages(net, *shape, spatial=None, inputs=None):
    x = torch.rand(2, *shape) if inputs is None else inputs
    return find_stages(trace(net.eval(), lambda: net(x), rows=2, spatial=spatial or x.shape[2:]))


def test_a_residual_network_has_its_stem_and_its_stages():
    found = stages(networks.ResNet(), 1, 32, 32)
    assert [call.name for call in found] == ["act1", "layer1", "layer2", "layer3"]
    assert [call.shape for call in found] == [(8, 32, 32), (8, 16, 16), (12, 8, 8), (16, 4, 4)]


def test_a_unet_goes_down_and_up_and_its_output_is_no_stage():
    assert names(networks.UNet(), 1, 32, 32) == ["d1", "d2", "d3", "c2", "c1"]


def test_a_head_of_several_layers_is_no_stage_where_the_decoder_has_one():
    net = networks.UNet()
    net.out = nn.Sequential(nn.Conv2d(4, 2, 1), nn.Identity())
    assert names(net, 1, 32, 32) == ["d1", "d2", "d3", "c2", "c1"]


def test_of_a_backbone_the_last_stage_is_its_output():
    net = nn.Sequential(*(nn.Sequential(*(networks.Residual(1, 1, s) for s in (2, 1))) for _ in range(3)))
    assert names(net, 1, 32, 32) == ["0", "1", "2"]


@pytest.mark.parametrize(("depth", "wanted"), [(12, [2, 5, 8, 11]), (6, [1, 2, 4, 5]), (4, [0, 1, 2, 3]), (2, [0, 1])])
def test_a_transformer_has_blocks_at_even_depths(depth, wanted):
    found = stages(networks.ViT(depth), 1, 32, 32)
    assert [call.name for call in found] == [f"blocks.layers.{place}" for place in wanted]
    assert {call.shape for call in found} == {(16, 8, 8)}


def test_tokens_have_positions():
    tokens, net = torch.tensor([[3, 4, 5, 0, 0, 0], [3, 4, 5, 6, 7, 8]]), networks.Words(depth=8)
    with gradient_session(net):
        found = stages(net, inputs=tokens, spatial=(6,))
    assert [call.name for call in found] == [f"encoder.layers.{place}" for place in (1, 3, 5, 7)]
    assert {call.shape for call in found} == {(16, 6)}


def test_a_series_has_its_stages():
    assert names(networks.Series(), 2, 64) == ["stem", "stage1", "stage2"]


def test_a_plain_chain_of_layers_has_the_last_of_each_resolution():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    assert names(nn.Sequential(net), 1, 16, 16) == ["0.1", "0.5"]


def test_one_resolution_without_blocks_has_activations_at_even_depths():
    layers = [part for _ in range(8) for part in (nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 2))
    assert names(net, 1, 16, 16) == ["3", "7", "11", "15"]


def test_a_network_of_one_layer_has_that_layer():
    assert names(nn.Sequential(nn.Conv2d(1, 2, 3)), 1, 16, 16) == ["0"]


def test_a_network_without_maps_has_no_stage():
    assert names(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), 1, 16, 16) == []


def test_norm_and_head_behind_the_last_stage_are_none_of_it():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(
                *(nn.Sequential(networks.Residual(n, n + 2, 2), networks.Residual(n + 2, n + 2)) for n in (1, 3, 5))
            )
            self.conv_head, self.norm = nn.Conv2d(7, 20, 1), nn.BatchNorm2d(20)

        def forward(self, x):
            return self.norm(self.conv_head(self.blocks(x))).mean((2, 3))

    assert names(Net(), 1, 32, 32) == ["blocks.0", "blocks.1", "blocks.2"]


def test_weights_of_attention_are_no_maps():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.softmax, self.drop = nn.Softmax(-1), nn.Dropout()

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            weights = self.drop(self.softmax(tokens @ tokens.transpose(1, 2))[:, None])
            return (weights[:, 0] @ tokens).transpose(1, 2).view_as(x)

    net = nn.Sequential(networks.block(1, 4, 2), networks.block(4, 8, 2), Attention(), networks.block(8, 8, 2))
    net = nn.Sequential(net, nn.Flatten(), nn.LazyLinear(3))
    assert names(net, 1, 32, 32) == ["0.0", "0.2", "0.3"]


def test_a_block_that_is_called_again_stands_once_where_it_was_last_called():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.same, self.end = networks.block(4, 4, 2), networks.block(4, 4), networks.block(4, 4, 2)

        def forward(self, x):
            return self.end(self.same(self.same(self.down(self.same(x))))).mean((2, 3))

    assert names(Net(), 4, 32, 32) == ["same", "end"]


def test_compiled_parts_have_their_plain_names():
    net = networks.ResNet()
    net.layer2 = torch.compile(net.layer2, backend="eager")
    with torch.compiler.set_stance("force_eager"):
        assert names(net, 1, 32, 32) == ["act1", "layer1", "layer2", "layer3"]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace.*` is deprecated:DeprecationWarning")
def test_scripted_parts_are_passed_over():
    net = networks.ResNet().eval()
    net.layer2 = torch.jit.trace(net.layer2, torch.rand(2, 8, 16, 16))
    assert names(net, 1, 32, 32) == ["act1", "layer1", "layer3"]


def test_branches_at_several_resolutions_are_noted():
    net, x = nn.Sequential(networks.block(1, 4), networks.Split(), networks.Branches()), torch.rand(2, 1, 16, 16)
    assert trace(net, lambda: net(x), rows=2, spatial=(16, 16)).branches == ("2",)


@dataclass
class Output:
    last_hidden_state: torch.Tensor


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m, lambda m: (m, None), lambda m: [m], lambda m: {"n": 3, "maps": m}, Output, lambda m: (m[:, 0, 0], m)],
)
def test_maps_are_found_in_any_collection(wrap):
    maps = torch.rand(3, 5, 4, 4)
    tensor, laid = laid_out(wrap(maps), 3, (8, 8))
    assert tensor is maps
    assert laid == ("first", (4, 4), 0)


@pytest.mark.parametrize(
    "output",
    [None, "text", torch.rand(3, 5), torch.rand(2, 5, 4, 4), torch.rand(3, 5, 1, 1), torch.ones(3, 5, 4, 4).long()],
)
def test_what_is_no_map_is_none(output):
    assert laid_out(output, 3, (8, 8)) is None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_no_map():
    nested = torch.nested.nested_tensor([torch.rand(4, 5), torch.rand(6, 5), torch.rand(2, 5)])
    assert laid_out(nested, 3, (6,)) is None


def test_a_layer_that_is_not_there_is_refused_with_its_nearest():
    net = networks.ResNet()
    check_layers(net, ["layer1", "layer2.0"])
    with pytest.raises(ValueError, match=r"`layers` has 'layer_2', wanted .*'layer2'.*Leave `layers` out"):
        check_layers(net, ["layer1", "layer_2"])


def test_no_hook_is_left_where_the_forward_fails():
    net = networks.ResNet()
    with pytest.raises(RuntimeError, match="channels"):
        stages(net, 3, 32, 32)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
