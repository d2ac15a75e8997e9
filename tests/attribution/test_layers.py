import torch
from torch import nn
from torch.nn import functional as F

from lightning_posttrain.attribution import find_cam_layer


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def found(net, size):
    return find_cam_layer(net, lambda: net(torch.rand(2, 3, size, size)))


def test_a_residual_block_counts_as_its_output():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert found(net, 16) == "1"


def test_maps_too_small_to_show_where_are_passed_over():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten())
    assert found(net, 32) == "3"
    assert found(net, 16) == "2"


def test_where_all_maps_are_small_the_last_that_says_where_is_taken():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert found(net, 11) == "1"


def test_a_net_without_maps_has_none_and_no_hook_stays():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    assert found(net, 8) is None
    assert not any(part._forward_hooks for part in net.modules())
