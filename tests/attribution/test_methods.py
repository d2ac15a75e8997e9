"""Every method beside its closed form on a linear model, and beside captum called by hand on a CNN."""

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, Saliency
from torch import nn

from lightning_posttrain.attribution import METHODS, attribute, gradient_session


def linear(shape=(1, 3, 6, 5), classes=4):
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(shape[1:]).prod()), classes))
    return net, torch.rand(3, *shape[1:]) - 0.3


CLOSED = {
    "saliency": lambda w, x: w.abs().amax(1),
    "input_x_gradient": lambda w, x: (w * x).sum(1),
    "integrated_gradients": lambda w, x: (w * x).sum(1),
}


@pytest.mark.parametrize("name", CLOSED)
def test_on_a_linear_model_each_method_is_its_closed_form(name):
    net, x = linear()
    target = torch.tensor([0, 3, 1])
    with gradient_session(net):
        maps = attribute((name,), net, x, target, None).maps[name]
    weight = net[1].weight.detach()[target].view_as(x)
    torch.testing.assert_close(maps, CLOSED[name](weight, x))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 8, 3, padding=1), nn.GELU())
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def by_captum(name, net, x, target):
    if name == "saliency":
        return Saliency(net).attribute(x, target, abs=True).amax(1)
    if name == "input_x_gradient":
        return InputXGradient(net).attribute(x, target).sum(1)
    if name == "integrated_gradients":
        return IntegratedGradients(net).attribute(x, target=target, n_steps=16, method="gausslegendre").sum(1)
    return LayerGradCam(net, net.body).attribute(x, target, relu_attributions=True)[:, 0]


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("name", METHODS)
def test_each_method_equals_captum_called_by_hand(name):
    torch.manual_seed(1)
    net, x, target = Cnn().eval(), torch.rand(20, 3, 6, 6), torch.arange(20) % 4
    with gradient_session(net):
        found = attribute((name,), net, x, target, net.body).maps[name]
    torch.testing.assert_close(found, by_captum(name, net, x, target).detach().float(), rtol=1e-5, atol=1e-6)


def test_integrated_gradients_are_complete():
    net, x, target = Cnn().eval(), torch.rand(4, 3, 6, 6), torch.tensor([0, 1, 2, 3])
    with gradient_session(net):
        maps = attribute(("integrated_gradients",), net, x, target, None).maps["integrated_gradients"]
        change = net(x).gather(1, target[:, None])[:, 0] - net(torch.zeros_like(x)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(maps.sum((1, 2)), change, rtol=0, atol=0.02 * float(change.abs().max()))


@pytest.mark.parametrize("shape", [(1, 1, 8, 9), (1, 8, 9, 3), (1, 8, 9)])
def test_maps_have_the_height_and_width_of_the_image_in_every_layout(shape):
    net, x = linear(shape)
    with gradient_session(net):
        maps = attribute(tuple(CLOSED), net, x, torch.tensor([0, 1, 2]), None).maps
    assert {tuple(values.shape) for values in maps.values()} == {(3, 8, 9)}


def test_without_a_layer_grad_cam_is_skipped_with_the_reason():
    net, x = linear()
    with gradient_session(net):
        found = attribute(("saliency", "grad_cam"), net, x, torch.tensor([0, 1, 2]), None)
    assert list(found.maps) == ["saliency"]
    assert "layer=" in found.skipped["grad_cam"]


def test_a_forward_that_changes_its_input_in_place_is_explained_all_the_same():
    net, x = linear()
    target = torch.tensor([0, 3, 1])

    def centred(images):
        return net(images.sub_(0.5))

    with gradient_session(net):
        maps = attribute(("saliency",), centred, x, target, None).maps["saliency"]
        plain = attribute(("saliency",), net, x, target, None).maps["saliency"]
    torch.testing.assert_close(maps, plain)
