import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_posttrain.attribution.attribute import attribute
from lightning_posttrain.attribution.layers import grid_of, layout
from lightning_posttrain.attribution.session import gradient_session
from tests import nets
from tests.attribution.problems import layer_of, maps_of, problem_of


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def found(net, size):
    net = nn.Sequential(*net, nn.LazyLinear(4))
    net(torch.rand(2, 3, size, size))
    return layer_of(problem_of(net.eval(), torch.rand(2, 3, size, size)))


def test_a_residual_block_counts_as_its_output():
    assert found([nn.Conv2d(3, 4, 3, padding=1), Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()], 16) == "1"


def test_maps_too_small_to_show_where_are_passed_over():
    net = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()]
    assert found(net, 32) == "3"
    assert found(net, 16) == "2"


def test_where_all_maps_are_small_the_last_that_says_where_is_taken():
    assert found([nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], 11) == "1"


def test_a_net_without_maps_has_none_and_no_hook_stays():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    assert layer_of(problem_of(net, torch.rand(2, 3, 8, 8))) is None
    assert not any(part._forward_hooks for part in net.modules())


FOUND = {
    "functional": "conv2",
    "residual, used twice": "pool",  # the sum is of no module, and the way past the inner convolution leads there
    "ViT of layers": "blocks.0",  # of the last block's output only the class token matters
    "ViT, written attention, mean": "norm",
    "ViT of encoder layers": "blocks.layers.0",
}


@pytest.mark.parametrize("name", FOUND)
def test_the_layer_is_one_that_all_goes_through_and_that_many_places_matter_of(name):
    assert layer_of(problem_of(nets.made(name), torch.randn(3, 3, 16, 16))) == FOUND[name]


class Swin(nn.Module):
    """Keeps channels last, as windowed transformers do."""

    def __init__(self):
        super().__init__()
        self.patch, self.mix, self.head = nn.Conv2d(3, 10, 2, 2), nn.Linear(10, 10), nn.Linear(10, 4)

    def forward(self, x):
        return self.head(self.mix(self.patch(x).permute(0, 2, 3, 1)).tanh().mean((1, 2)))


def test_channels_may_come_last():
    torch.manual_seed(0)
    net, x = Swin().eval(), torch.randn(2, 3, 16, 16)
    problem = problem_of(net, x, layer=layer_of(problem_of(net, x)))
    assert problem.layer == "mix"
    problem.wants = frozenset({"layer"})
    with gradient_session(net):
        activation, slope = problem.gradients.activation, problem.gradients.slope
        maps = attribute(["hirescam"], problem).maps["hirescam"]
    expected = F.interpolate((activation * slope).sum(-1)[:, None], size=(16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, expected)


class Wave(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(2, 6, 5, stride=2, padding=2), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean(2))


def test_series_have_layers_too():
    net, x = Wave().eval(), torch.randn(2, 2, 40)
    problem = problem_of(net, x, channel_dim=1)
    problem.layer = layer_of(problem)
    assert problem.layer == "conv"
    assert maps_of("hirescam", problem).shape == (2, 40)


def test_a_layer_that_runs_twice_is_refused_with_the_reason():
    net = nets.made("residual, used twice")
    with gradient_session(net):
        said = attribute(["hirescam"], problem_of(net, torch.randn(2, 3, 16, 16), layer="activation")).skipped
    assert "activation runs 2 times" in said["hirescam"]


def test_a_layer_that_does_not_lie_over_the_input_is_refused_with_the_reason():
    net = nets.made("functional")
    with gradient_session(net):
        said = attribute(["hirescam"], problem_of(net, torch.randn(2, 3, 16, 16), layer="head")).skipped
    assert "does not lie over the input" in said["hirescam"]


@pytest.mark.parametrize(
    ("shape", "spatial", "expected"),
    [
        ((2, 5, 4, 4), (16, 16), ("first", (4, 4), 0)),
        ((2, 7, 7, 768), (224, 224), ("last", (7, 7), 0)),
        ((2, 5, 3, 6), (40, 90), ("first", (3, 6), 0)),
        ((2, 18, 6), (32, 32), ("last", (4, 4), 2)),
        ((2, 6, 20), (40,), ("first", (20,), 0)),
        ((2, 40, 6), (40,), ("last", (40,), 0)),
        ((2, 5), (32, 32), None),
    ],
)
def test_how_an_output_lies_over_the_input(shape, spatial, expected):
    assert layout(torch.zeros(shape), spatial) == expected


def test_tokens_of_a_picture_that_is_not_square():
    assert grid_of(33, (64, 128)) == (1, (4, 8))
    assert grid_of(7, (64, 128)) is None or grid_of(7, (64, 128))[0] > 0
