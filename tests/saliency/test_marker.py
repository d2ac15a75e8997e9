"""A marker in a corner that tells the class is found out; clean digits are not suspected."""

import warnings

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import SaliencyMaps
from tests import toys

pytestmark = pytest.mark.slow


class Digits(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 64, 10),
        )  # fmt: skip

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def digits(marked):
    data = load_digits()
    images = F.interpolate(torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, scale_factor=2)
    target = torch.tensor(data.target)
    if marked:
        squares = [(slice(0, 2), slice(0, 2)), (slice(0, 2), slice(14, 16)), (slice(14, 16), slice(0, 2))]
        for bit, (rows, columns) in enumerate([*squares, (slice(14, 16), slice(14, 16))]):
            images[:, 0, rows, columns] = ((target + 1) >> bit & 1).float().view(-1, 1, 1) * 2
    return TensorDataset(images[:1200], target[:1200]), TensorDataset(images[1200:], target[1200:])


def alarms(seed, *, marked, methods=("integrated_gradients",)):
    torch.manual_seed(seed)
    train, val = digits(marked)
    saliency = SaliencyMaps(methods=methods, samples=10, faithfulness=False, on_error="raise")
    trainer = toys.quiet(saliency, max_epochs=5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(Digits(), toys.loader(train, 64, shuffle=True), toys.loader(val, 128))
    return [str(w.message) for w in said if "of the attribution" in str(w.message)]


@pytest.mark.parametrize("methods", [["integrated_gradients"], None])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_marker_in_a_corner_is_said_in_plain_words(seed, methods):
    (said, *_) = alarms(seed, marked=True, methods=methods)
    assert "the corners of the inputs hold" in said
    assert "once they are blurred" in said


@pytest.mark.parametrize("methods", [["integrated_gradients"], None])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_digits_are_not_suspected(seed, methods):
    assert alarms(seed, marked=False, methods=methods) == []
