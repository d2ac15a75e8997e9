import numpy as np
import pytest
import torch

from lightning_posttrain.explanations.functional.superpixels import slic
from tests.explanations.test_superpixels import leak, picture, regions

segmentation = pytest.importorskip("skimage.segmentation")
pytestmark = pytest.mark.peers


def recall(labels, truth):
    """Share of the true borders with one that was found within two pixels."""
    true, found = (segmentation.find_boundaries(each.numpy()) for each in (truth, labels))
    near = np.zeros_like(found)
    for down in range(-2, 3):
        for right in range(-2, 3):
            near |= np.roll(found, (down, right), (0, 1))
    return float((true & near).sum() / true.sum())


def voronoi(seed, height=120, width=160):
    """Labels of twelve random cells, and a picture of them in random colours."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centers = torch.rand(12, 2, generator=generator) * torch.tensor([height, width])
    labels = torch.cdist(torch.stack([y, x], -1).view(-1, 2).float(), centers).argmin(1).view(height, width)
    drawn = torch.rand(12, 3, generator=generator)[labels].movedim(-1, 0)[None]
    return labels, drawn + 0.01 * torch.randn(drawn.shape, generator=generator)


def scores(truth, image, count):
    """Recall and leak of the own superpixels and of the peer's."""
    own = slic(image, count)[0]
    peer = segmentation.slic(image[0].movedim(0, 2).numpy(), n_segments=count, compactness=10, start_label=0)
    peer = torch.from_numpy(peer)
    assert count / 1.5 <= int(own.max()) + 1 <= 1.5 * count
    return recall(own, truth), recall(peer, truth), leak(own, truth), leak(peer, truth)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("count", [20, 40, 80])
def test_regions_are_found_as_well_as_scikit_image_finds_them(noise, count):
    truth = regions(120, 160)
    own, peer, lost, lost_by_peer = scores(truth, picture(truth, noise=noise), count)
    assert own >= peer
    assert lost <= lost_by_peer


@pytest.mark.parametrize("count", [20, 40, 80])
def test_random_cells_are_found_no_worse_on_average_than_scikit_image_finds_them(count):
    found = [scores(*voronoi(seed), count) for seed in range(12)]
    own, peer, lost, lost_by_peer = np.mean(found, axis=0)
    assert own >= peer - 0.002
    assert lost <= lost_by_peer
