import pytest
import torch

from lightning_posttrain.functional import channel_dim, is_image, to_display


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((2, 1, 8, 8), 1), ((2, 3, 9, 7), 1), ((2, 9, 7, 3), 3), ((2, 9, 7, 1), 3), ((2, 9, 8), None)],
)
def test_every_layout_is_recognised_and_shown_with_its_own_height_and_width(shape, dim):
    assert is_image(shape)
    assert channel_dim(shape) == dim
    images = torch.rand(shape)
    shown = to_display(images)
    assert shown.shape[-1] == 3
    first = images if dim is None else images.select(dim, 0)
    torch.testing.assert_close(shown[..., 0], first)


@pytest.mark.parametrize("shape", [(2, 30), (2, 3, 100), (2, 16, 9, 9), (2, 1, 1, 8)])
def test_other_shapes_are_no_images(shape):
    assert not is_image(shape)


def test_flat_images_and_whole_numbers():
    assert to_display(torch.full((1, 1, 4, 4), 7.0)).isfinite().all()
    assert to_display(torch.full((1, 1, 4, 4), 51, dtype=torch.uint8)).unique().tolist() == pytest.approx([0.2])


def test_normalised_images_are_stretched_and_nan_is_black():
    shown = to_display(torch.tensor([[[[-2.0, 2.0], [0.0, float("nan")]]]]))
    assert shown.min() == 0
    assert not shown.isnan().any()
