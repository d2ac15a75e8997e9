import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lightning_posttrain.attribution.session import gradient_session
from tests import toys


class Cached(nn.Module):
    """Makes a buffer and an attribute when first called, as position encodings do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("scale", None)

    def forward(self, x):
        if self.scale is None:
            self.scale = torch.full((3,), 2.0)
            self.shift = torch.ones(3)
        return self.layer(x * self.scale * self.shift)


def gradient(module, x):
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(module(leaf).sum(), leaf)[0]


def test_gradients_flow_in_inference_mode_also_through_tensors_made_in_it():
    module = Cached()
    with torch.inference_mode():
        module(torch.ones(1, 3))
        made = module.scale
        assert made.is_inference()
        with gradient_session(module):
            found = gradient(module, torch.ones(1, 3))
        assert module.scale is made
    torch.testing.assert_close(found, 2 * module.layer.weight.sum(0, keepdim=True))


def snapshot(module):
    return {
        "flags": [part.training for part in module.modules()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "state": [value.clone() for value in module.state_dict().values()],
        "random": [
            torch.get_rng_state(),
            torch.tensor(np.random.get_state()[1].astype(np.int64)),
            random.getstate(),
        ],
        "modes": [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")],
    }


def assert_same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_it_was_even_after_an_exception_and_a_backward(fails):
    module = toys.Net()
    module.model[0].eval()
    module.model[5].bias.requires_grad_(False)
    module(torch.rand(2, 1, 8, 8)).sum().backward()
    before = snapshot(module)
    try:
        with torch.no_grad(), torch.autocast("cpu"), gradient_session(module):
            module.train()  # what a user's own forward may do
            x = torch.rand(2, 1, 8, 8, requires_grad=True) + float(np.random.rand()) + random.random()
            module(x).sum().backward()
            if fails:
                raise KeyError("inside")
    except KeyError:
        assert fails
    assert_same(before, snapshot(module))


def test_inside_the_model_is_in_eval_mode_without_autocast_and_with_frozen_parameters():
    module = toys.Net().train()
    with torch.autocast("cpu"), gradient_session(module):
        assert not any(part.training for part in module.modules())
        assert not any(p.requires_grad for p in module.parameters())
        assert module(torch.rand(1, 1, 8, 8)).dtype == torch.float32


def test_random_numbers_inside_depend_on_the_seed_alone():
    drawn = []
    for _ in range(2):
        torch.rand(3)
        with gradient_session(nn.Linear(1, 1), seed=5):
            drawn.append([torch.rand(2), torch.tensor([np.random.rand(), random.random()])])
    assert_same(drawn[0], drawn[1])


def test_a_compiled_module_runs_eagerly_so_that_hooks_fire():
    torch._dynamo.reset()
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    module = nn.Sequential(torch.compile(inner, backend="eager"))
    with torch.no_grad():
        module(torch.ones(1, 3))
    fired = []
    handle = inner[1].register_forward_hook(lambda *args: fired.append(1))
    with gradient_session(module):
        module(torch.ones(1, 3))
    handle.remove()
    assert fired


class Reassigning(nn.Module):
    """Puts another tensor in the place of its buffer, as moving averages do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("center", torch.zeros(2))
        self.register_buffer("edges", torch.eye(3).to_sparse())
        self.register_buffer("expanded", torch.tensor([float("nan")]).expand(4))
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        y = self.norm(self.layer(x))
        self.center = 0.9 * self.center + y.detach().mean(0)
        return y - self.center


def test_buffers_are_put_back_by_object_and_by_value_whatever_their_kind():
    module = Reassigning()
    before = module.center
    values = before.clone(), module.norm.running_mean.clone()
    with gradient_session(module):
        module.train()
        gradient(module, torch.rand(4, 3))
    assert module.center is before
    assert_same(list(values), [module.center, module.norm.running_mean])


class Caching(nn.Module):
    """Keeps what it made in a dict."""

    def __init__(self):
        super().__init__()
        self.layer, self.cache = nn.Linear(3, 2), {}

    def forward(self, x):
        if "scale" not in self.cache:
            self.cache["scale"] = [torch.full((3,), 2.0)]
        return self.layer(x * self.cache["scale"][0])


def test_tensors_made_in_inference_mode_are_found_in_containers_too():
    module = Caching()
    with torch.inference_mode():
        module(torch.ones(1, 3))
        cache = module.cache
        with gradient_session(module):
            gradient(module, torch.ones(1, 3))
    assert module.cache is cache


def test_no_compiler_is_imported_for_a_module_that_is_not_compiled():
    code = """
import sys
import torch
from torch import nn
from lightning_posttrain.attribution import METHODS, Problem, attribute, gradient_session

net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
x = torch.rand(2, 1, 8, 8)
with gradient_session(net):
    found = attribute(METHODS, Problem(lambda rows, which: net(rows)[:, 0], x, torch.zeros_like(x), 1, net, layer="1"))
assert len(found.maps) + len(found.skipped) == len(METHODS)
print(*(name for name in ("torch._dynamo", "torch._inductor", "captum", "lightning") if name in sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
