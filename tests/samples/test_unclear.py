"""What is not clear is said, not guessed: where channels stand, and whether the model gives the same twice."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import SaliencyMaps
from lightning_posttrain.samples.kinds import kind_of
from tests import toys


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((8, 11, 60, 1), None),
        ((8, 64, 400, 3), None),
        ((8, 28, 28, 1), "image"),
        ((8, 64, 200, 1), "image"),
        ((8, 1, 11, 60), "image"),
        ((8, 3, 20, 200), "image"),
        ((8, 11, 60, 4), "image"),
    ],
)
def test_channels_that_may_stand_first_or_last_are_not_guessed(shape, kind):
    assert kind_of(torch.zeros(shape)) == kind


class Channels(toys.Net):
    """Eleven channels of sixty steps, with a dimension of one behind."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(660, 4))


def data():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(16, 11, 60, 1, generator=generator), torch.arange(16) % 4)


def explained(module, data, **options):
    maps = SaliencyMaps(samples=4, methods=["saliency"], faithfulness=False, **options)
    toys.quiet(maps).validate(module, DataLoader(data, batch_size=8), verbose=False)
    return maps.results.get("val")


def test_the_cures_for_unclear_channels_work():
    with pytest.warns(UserWarning, match="images whose channels stand last, or series of 11 channels"):
        assert explained(Channels(), data()) is None
    assert explained(Channels(), data(), kind="image").maps["saliency"].shape == (4, 11, 60)
    result = explained(
        Channels(),
        data(),
        inputs_fn=lambda batch: batch[0][..., 0],
        forward_fn=lambda module, inputs: module(inputs[..., None]),
    )
    assert result.kind == "series"
    assert result.shown.shape == (4, 11, 60)


class Together(toys.Net):
    """Each sample's scores hang on the others of its batch."""

    def __init__(self, strength):
        super().__init__()
        self.model = nn.Linear(64, 4)
        self.strength = strength

    def forward(self, x):
        found = self.model(x.flatten(1)) * torch.tensor([1.0, 1.0, 0.1, 0.1]) + torch.tensor([0.0, 30.0, 60.0, 90.0])
        mean = found.mean(0)
        return found - self.strength * mean + self.strength * torch.tensor([0.0, 30.0, 60.0, 90.0])


def test_scores_that_hang_on_the_rest_of_the_batch_are_not_explained_and_it_is_said():
    pictures = toys.images(24)
    with pytest.warns(UserWarning, match="in another batch: by up to .* of a class spread over"):
        assert explained(Together(1.0), pictures) is None
    assert explained(Together(0.0), pictures) is not None


class WithoutRunningStatistics(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6, track_running_stats=False), nn.Flatten(), nn.Linear(384, 4)
        )

    def step(self, batch, stage):
        self.log(f"{stage}/loss", F.cross_entropy(self(batch[0]), batch[1]))


def test_batch_normalisation_without_running_statistics_is_refused():
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="module\\(inputs\\) gives other scores"):
        assert explained(WithoutRunningStatistics(), toys.images(24)) is None
