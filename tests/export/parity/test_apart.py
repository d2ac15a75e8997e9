"""The layer that differs is named: in programs and in ONNX files."""

import copy

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from lightning_posttrain.export.parity.apart import first_apart_in_onnx, first_apart_in_program
from tests.export.parity.nets import Attending, Convolutional, Pair, Recurrent, made, onnx_model, traced

# a weight, and the layer that it is found in
CHANGED = [
    (Convolutional, "features.0.weight", "features.0"),
    (Convolutional, "features.2.bias", "features.2"),
    (Convolutional, "head.weight", "head"),
    (Recurrent, "lstm.weight_ih_l0", "lstm"),
    (Recurrent, "norm.weight", "norm"),
    (Recurrent, "head.weight", "head"),
    (Attending, "embed.weight", "embed"),
    (Attending, "encoder.layers.0.self_attn.in_proj_weight", "encoder.layers.0.self_attn"),
    (Attending, "encoder.layers.1.linear1.weight", "encoder.layers.1.linear1"),
    (Pair, "shared.weight", "shared"),
    (Pair, "head.bias", "head"),
]
SLOW = pytest.mark.slow
CHANGED = [case if case[0] is Convolutional else pytest.param(*case, marks=SLOW) for case in CHANGED]
KINDS = (Convolutional, *(pytest.param(kind, marks=SLOW) for kind in (Recurrent, Attending, Pair)))


class Exported(dict):
    """By kind, made when it is first asked for."""

    def __missing__(self, kind):
        module, rows = made(kind)
        program = traced(module, rows)
        self[kind] = module, rows, program, onnx_model(program, rows)
        return self[kind]


@pytest.fixture(scope="module")
def exported():
    return Exported()


def other(module, weight, *, factor=1.01):
    """A copy whose weight is another."""
    changed = copy.deepcopy(module)
    with torch.no_grad():
        changed.get_parameter(f"network.{weight}").mul_(factor)
    return changed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_apart_in_a_program_that_is_right(exported, kind):
    module, rows, program, _ = exported[kind]
    assert first_apart_in_program(module, program, rows) is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_apart_in_an_onnx_file_that_is_right(exported, kind):
    module, rows, _, model = exported[kind]
    assert first_apart_in_onnx(module, model.SerializeToString(), rows) is None


@pytest.mark.parametrize(("kind", "weight", "layer"), CHANGED)
def test_a_weight_that_differs_by_one_percent_names_its_layer_in_a_program(exported, kind, weight, layer):
    module, rows, program, _ = exported[kind]
    assert first_apart_in_program(other(module, weight), program, rows, prefix="network.").startswith(f"`{layer}` (")


@pytest.mark.parametrize(("kind", "weight", "layer"), CHANGED)
def test_a_weight_that_differs_by_one_percent_names_its_layer_in_an_onnx_file(exported, tmp_path, kind, weight, layer):
    module, rows, _, model = exported[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert first_apart_in_onnx(other(module, weight), path, rows, prefix="network.").startswith(f"`{layer}` (")


def test_a_weight_that_is_changed_in_the_file_names_its_layer(exported):
    module, rows, _, model = exported[Convolutional]
    changed = copy.deepcopy(model)
    (weight,) = (one for one in changed.graph.initializer if one.name == "network.features.2.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    said = first_apart_in_onnx(module, changed.SerializeToString(), rows, prefix="network.")
    name, _, rest = said.partition(" (Conv2d), off by ")
    assert name == "`features.2`"
    assert 0.1 < float(rest.removesuffix(" % of its largest value")) < 2


def test_a_dropout_that_was_left_on_is_named(exported):
    module, rows, _, _ = exported[Convolutional]
    program = traced(copy.deepcopy(module).train(), rows)
    state = torch.get_rng_state()
    said = first_apart_in_program(module, program, rows, prefix="network.")
    assert said.startswith("`drop` (Dropout), off by ")
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.slow
def test_a_program_that_was_saved_keeps_its_names(exported, tmp_path):
    module, rows, program, _ = exported[Recurrent]
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2")
    assert first_apart_in_program(module, loaded, rows) is None
    assert first_apart_in_program(other(module, "norm.bias", factor=0.5), loaded, rows) is None  # it is 0
    assert first_apart_in_program(other(module, "norm.weight"), loaded, rows).startswith("`network.norm` (LayerNorm)")


def test_an_onnx_file_without_names_cannot_be_compared(exported):
    module, rows, _, model = exported[Convolutional]
    stripped = copy.deepcopy(model)
    for node in stripped.graph.node:
        del node.metadata_props[:]
    changed = other(module, "head.weight", factor=2)
    assert first_apart_in_onnx(changed, stripped.SerializeToString(), rows) is None


def test_a_layer_that_gives_nan_is_apart_and_named(exported):
    module, rows, program, _ = exported[Convolutional]
    changed = other(module, "features.2.weight", factor=float("nan"))
    assert first_apart_in_program(changed, program, rows) == "`network.features.2` (Conv2d), not finite"


@pytest.mark.slow
def test_the_first_of_two_layers_that_differ_is_named(exported):
    module, rows, program, _ = exported[Attending]
    changed = other(other(module, "head.weight"), "encoder.layers.0.linear2.weight")
    assert first_apart_in_program(changed, program, rows).startswith("`network.encoder.layers.0.linear2` (Linear)")


class Folded(nn.Module):
    """A convolution whose normalisation the exporter may fold into it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.mark.slow
def test_a_convolution_with_its_normalisation_folded_in_is_found_at_the_normalisation():
    module, rows = made(Convolutional)
    torch.manual_seed(1)
    module.network = Folded()
    for _ in range(3):
        module(torch.randn(8, 1, 8, 8))
    module.eval()
    content = onnx_model(traced(module, rows), rows).SerializeToString()
    assert first_apart_in_onnx(module, content, rows) is None
    said = first_apart_in_onnx(other(module, "norm.weight", factor=1.05), content, rows, prefix="network.")
    assert said.startswith("`norm` (BatchNorm2d)")
