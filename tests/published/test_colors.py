"""Normalisations of transforms as torchvision, kornia and timm have them."""

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lightning_posttrain.samples.colors import IMAGENET, UNDONE, colors_of
from lightning_posttrain.samples.normalization import normalization_of

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
torchvision = pytest.importorskip("torchvision")


def transforms():
    from torchvision import transforms as v1
    from torchvision.transforms import v2

    yield "v1", v1.Compose([v1.Resize(32), v1.ToTensor(), v1.Normalize(*IMAGENET)])
    yield "v2", v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)])
    yield "of weights", torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()


@pytest.mark.parametrize(("name", "transform"), list(transforms()))
def test_torchvisions_transforms_tell_their_normalisation(name, transform):
    data = torchvision.datasets.FakeData(6, (3, 40, 40), transform=transform)
    found = normalization_of(DataLoader(ConcatDataset([Subset(data, [0, 1])])))
    assert found is not None, name
    assert found.mean == pytest.approx(IMAGENET.mean)
    assert found.std == pytest.approx(IMAGENET.std)
    assert colors_of(torch.stack([data[i][0] for i in range(6)]), 1, [data]).said == UNDONE


@pytest.mark.parametrize("augmented", [False, True])
def test_kornias_normalize_tells_its_own(augmented):
    kornia = pytest.importorskip("kornia")
    numbers = tuple(map(torch.tensor, IMAGENET))
    normalize = kornia.augmentation.Normalize(*numbers) if augmented else kornia.enhance.Normalize(*numbers)
    data = torchvision.datasets.FakeData(2, (3, 8, 8), transform=torch.nn.Sequential(normalize))
    found = normalization_of(data)
    assert found is not None
    assert found.mean == pytest.approx(IMAGENET.mean)


def test_timms_transforms_tell_their_normalisation():
    data = pytest.importorskip("timm.data")
    transform = data.create_transform((3, 32, 32))
    found = normalization_of(torchvision.datasets.FakeData(2, (3, 8, 8), transform=transform))
    assert found is not None
    assert found.std == pytest.approx(IMAGENET.std)
