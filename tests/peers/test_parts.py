import numpy as np
import pytest
import torch

from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.segments import parts_of
from tests.explanations.test_superpixels import picture, regions

segmentation = pytest.importorskip("skimage.segmentation")
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("how", ["quickshift", "felzenszwalb"])
def test_the_parts_of_scikit_image_are_its_own(how):
    x = torch.cat([picture(regions(), seed=seed) for seed in (0, 1)]).clamp(0, 1)
    parts = parts_of(x, "image", how=how)
    assert parts.index.shape == (2, 1, 60, 80)
    assert parts.count == int(parts.index.max()) + 1 == len(parts.names_of(0)) > 1


def test_superpixels_by_quickshift_are_those_of_the_lime_package():
    wrappers = pytest.importorskip("lime.wrappers.scikit_image")
    x = picture(regions()).clamp(0, 1)
    algorithm = wrappers.SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2)
    theirs = algorithm(x[0].movedim(0, 2).double().numpy())
    assert np.array_equal(parts_of(x, "image", how="quickshift").index[0, 0].numpy(), theirs)


def test_the_mean_of_parts_is_what_the_lime_package_puts_in_their_place():
    lime_image = pytest.importorskip("lime.lime_image")
    x = picture(regions(), noise=0.2).clamp(0, 1).double()
    parts = parts_of(x, "image")
    labels, seen = parts.index[0, 0].numpy(), []

    def classifier(images):
        seen.extend(images)
        return np.full((len(images), 2), 0.5)

    lime_image.LimeImageExplainer(random_state=0).explain_instance(
        x[0].movedim(0, 2).numpy(), classifier, segmentation_fn=lambda _: labels, num_samples=12
    )
    behind = hidden_of(x, "image", parts, how="part mean")[0, 0].movedim(0, 2).numpy()
    image = x[0].movedim(0, 2).numpy()
    for theirs in seen:
        assert np.minimum(np.abs(theirs - image), np.abs(theirs - behind)).max() < 1e-12
    assert any(np.abs(theirs - image).max() > 0.1 for theirs in seen)
