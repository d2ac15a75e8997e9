import pytest
import torch

from lightning_posttrain.samples.kinds import channel_dim, fits_kind, kind_of, to_display

LAYOUTS = {
    (2, 1, 8, 8): ("image", 1), (2, 3, 9, 7): ("image", 1), (2, 9, 7, 3): ("image", 3), (2, 9, 7, 1): ("image", 3),
    (2, 9, 8): ("image", None), (2, 13, 16, 16): ("image", 1), (2, 16, 16, 4): ("image", 3),
    (2, 4, 16, 16): ("image", 1),
    (2, 64, 128): ("image", None), (2, 30): ("tabular", None), (2, 3, 100): ("series", 1), (2, 100, 3): ("series", 2),
    (2, 12, 1000): ("series", 1), (2, 16000): ("series", None),
}  # fmt: skip


@pytest.mark.parametrize("shape", LAYOUTS)
def test_a_batch_is_told_by_its_shape(shape):
    kind, dim = LAYOUTS[shape]
    assert kind_of(torch.zeros(shape)) == kind
    assert channel_dim(shape, kind) == dim
    assert fits_kind(shape, kind)


def test_rows_of_whole_numbers_are_tokens():
    assert kind_of(torch.zeros(2, 30, dtype=torch.long)) == "tokens"


@pytest.mark.parametrize("shape", [(2,), (2, 1, 1, 8), (2, 3, 4, 5, 6)])
def test_other_shapes_are_nothing_that_can_be_explained(shape):
    assert kind_of(torch.zeros(shape)) is None


def test_what_is_named_has_to_fit():
    assert fits_kind((2, 3, 64), "spectrogram")
    assert not fits_kind((2, 3, 64), "tabular")


@pytest.mark.parametrize("shape", [s for s, (kind, _) in LAYOUTS.items() if kind == "image"])
def test_every_layout_is_shown_with_its_own_height_and_width(shape):
    images, dim = torch.rand(shape), channel_dim(shape, "image")
    shown = to_display(images, dim)
    assert shown.shape == (2, *(n for i, n in enumerate(shape) if i not in (0, dim)), 3)
    torch.testing.assert_close(shown[..., 0], images if dim is None else images.select(dim, 0))


def test_a_normalisation_is_undone():
    images = torch.rand(2, 3, 8, 8)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    normal = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(to_display(normal, 1, mean=mean, std=std), images.movedim(1, 3))


def test_bands_are_shown_as_red_green_and_blue_and_two_channels_as_their_mean():
    images = torch.rand(2, 6, 8, 8)
    torch.testing.assert_close(to_display(images, 1, bands=[5, 2, 0]), images[:, [5, 2, 0]].movedim(1, 3))
    torch.testing.assert_close(to_display(images[:, :2], 1)[..., 1], images[:, :2].mean(1))


def test_flat_images_and_whole_numbers():
    assert to_display(torch.full((1, 1, 4, 4), 7.0), 1).isfinite().all()
    whole = torch.full((1, 1, 4, 4), 51, dtype=torch.uint8)
    assert to_display(whole, 1).unique().tolist() == pytest.approx([0.2])


def test_normalised_images_are_stretched_and_nan_is_black():
    shown = to_display(torch.tensor([[[[-2.0, 2.0], [0.0, float("nan")]]]]), 1)
    assert shown.min() == 0
    assert not shown.isnan().any()
