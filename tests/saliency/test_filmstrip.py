import pytest
import torch

from lightning_posttrain.saliency.render.filmstrip import class_means_image, filmstrip_image
from lightning_posttrain.saliency.result import ClassMeans


def said(written):
    return [text for text, _ in written]


def strip(samples=2, epochs=3, height=8, width=8, **more):
    frames = more.pop("frames", torch.rand(samples, epochs, height, width))
    options = {"images": torch.rand(samples, height, width, 3), "signed": False, "title": "val", **more}
    return filmstrip_image(frames, range(epochs), [f"#{i} cat" for i in range(samples)], **options)


@pytest.mark.parametrize("epochs", [1, 3, 12])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (224, 224), (20, 200), (200, 20)])
def test_a_filmstrip_is_as_wide_as_the_sheet(epochs, height, width):
    assert strip(1, epochs, height, width).pixels.shape[1:] == (700, 3)


def test_a_filmstrip_has_the_epochs_above_and_a_caption_a_row(written):
    strip(2, 12)
    assert {*map(str, range(12)), "#0 cat", "#1 cat", "val over the epochs"} <= set(said(written))


def test_twelve_epochs_have_cells_of_at_least_forty_pixels():
    dark = torch.zeros(1, 12, 8, 8)
    dark[..., 0, 0] = 1
    pixels = strip(1, 12, frames=dark, images=torch.ones(1, 8, 8, 3)).pixels.int()
    lowest = ((pixels - torch.tensor([68, 1, 84])).abs().amax(dim=2) < 3)[-60:].any(dim=0)
    columns = torch.nonzero(lowest.diff().int()).flatten().diff()
    assert columns.max() >= 38  # within a border of one pixel


def test_every_map_of_a_filmstrip_is_on_its_own_scale():
    frames = torch.rand(1, 1, 8, 8).repeat(1, 2, 1, 1) * torch.tensor([1.0, 1000.0]).view(1, 2, 1, 1)
    assert torch.equal(strip(1, 2, frames=frames, images=torch.ones(1, 8, 8, 3)).pixels[70:290, 232:452],
                       strip(1, 2, frames=frames, images=torch.ones(1, 8, 8, 3)).pixels[70:290, 456:676])  # fmt: skip


def test_an_epoch_without_a_map_has_a_dash_and_one_of_zeros_says_so(written):
    frames = torch.rand(1, 3, 8, 8)
    frames[0, 0], frames[0, 1] = torch.nan, 0
    strip(1, 3, frames=frames)
    assert {"–", "all zero"} <= set(said(written))


def test_only_signed_maps_speak_of_red_and_blue(written):
    strip(signed=False)
    assert not any("blue" in text for text in said(written))
    strip(signed=True)
    assert any("blue" in text for text in said(written))


def means(classes=5, counts=None, maps=None):
    names = [f"class {i}" for i in range(classes)]
    maps = torch.rand(classes, 8, 8) if maps is None else maps
    found = ClassMeans(
        tuple(names), tuple(counts or [3] * classes), torch.rand(classes, 8, 8, 3), maps, "Saliency", True
    )
    return class_means_image(found, title="val")


def test_class_means_stand_four_in_a_line():
    heights = [means(classes).pixels.shape[0] for classes in (1, 4, 5, 8)]
    assert heights[0] == heights[1] < heights[2] == heights[3]
    assert means(5).pixels.shape[1:] == (700, 3)


def test_each_class_has_its_name_its_count_and_its_scale(written):
    means(2, [7, 12], torch.tensor([0.5, 2.0]).view(2, 1, 1).expand(2, 8, 8))
    assert {"class 0", "n = 7, ±0.5", "class 1", "n = 12, ±2"} <= set(said(written))


def test_a_class_without_samples_says_so(written):
    means(2, [0, 1], torch.stack([torch.full((8, 8), torch.nan), torch.ones(8, 8)]))
    assert said(written).count("no samples") == 1
