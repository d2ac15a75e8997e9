"""Small networks, wrapped as they are when they are exported, and their files."""

import logging
import warnings

import numpy as np
import torch
from torch import nn

from lightning_posttrain.export.outputs import Outputs


class Wrapped(nn.Module):
    """Probabilities and decision of a network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        chance = self.network(*inputs).softmax(1)
        return chance, chance.argmax(1)


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.drop(self.features(x).mean((2, 3))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        output, _ = self.lstm(x)
        return self.head(self.norm(output[:, -1]))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


class Pair(nn.Module):
    """Two inputs, and one layer that is called for both."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 5)
        self.head = nn.Linear(10, 3)

    def forward(self, left, right):
        return self.head(torch.cat([self.shared(left), self.shared(right)], 1))


SHAPES = {Convolutional: [(1, 8, 8)], Recurrent: [(5, 4)], Attending: [(5, 4)], Pair: [(4,), (4,)]}


def made(kind):
    """A wrapped network in eval mode, and some rows for it."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    inputs = [generator.normal(size=(6, *shape)).astype(np.float32) for shape in SHAPES[kind]]
    return Wrapped(kind()).eval(), {f"input_{place}": one for place, one in enumerate(inputs)}


def traced(module, rows):
    """The exported program of a module, with a free batch."""
    batch = torch.export.Dim("batch", min=1, max=65536)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examples = tuple(torch.from_numpy(array[:2].copy()) for array in rows.values())
        return torch.export.export(module, examples, dynamic_shapes=(tuple({0: batch} for _ in examples),))


def onnx_model(program, rows):
    """The ONNX model of a program, as the exporter makes it."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.onnx.export(
            program, dynamo=True, external_data=False, verbose=False, input_names=list(rows),
            output_names=["probabilities", "decision"], dynamic_shapes=(tuple({0: "batch"} for _ in rows),),
        )  # fmt: skip
    return found.model_proto


def runner(module):
    """A module as what runs an exported model."""

    def run(rows):
        with torch.no_grad():
            return Outputs(*(one.numpy() for one in module(*map(torch.from_numpy, rows.values()))))

    return run
