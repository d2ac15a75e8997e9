import pytest
import torch
from torch.nn import functional as F

from lightning_posttrain.explanations.functional.pooled import pooled_features


def rand(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 8), (4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_cells_of_images_are_those_of_average_pooling(height, width, channels):
    x = rand(5, channels, height, width)
    found = pooled_features(x, "image")
    wanted = F.avg_pool2d(x.mean(1, keepdim=True), (height // 4, width // 4)).flatten(1)
    assert torch.allclose(found.features, wanted, atol=1e-6)
    assert found.names[0] == "row 1, column 1"
    assert len(found.names) == 16


def test_channels_that_stand_last_give_the_same():
    x = rand(2, 3, 16, 16)
    first, last = pooled_features(x, "image"), pooled_features(x.movedim(1, 3), "image")
    assert torch.allclose(first.features, last.features, atol=1e-6)
    assert last.parts.shape == (16, 16, 1)


def test_sides_that_do_not_divide_have_cells_of_nearly_one_size():
    found = pooled_features(torch.ones(1, 1, 9, 11), "image")
    sizes = found.parts.flatten().bincount()
    assert len(sizes) == 16
    assert sizes.max() <= 3 * 3
    assert sizes.min() >= 2 * 2
    assert torch.equal(found.features, torch.ones(1, 16))


def test_bands_of_spectrograms_are_means_over_time():
    x = rand(3, 1, 16, 50)
    found = pooled_features(x, "spectrogram")
    assert torch.allclose(found.features, x[:, 0].view(3, 8, 2, 50).mean((2, 3)), atol=1e-6)
    assert found.names[-1] == "band 8"


def test_segments_of_series_are_of_each_channel_where_these_are_few():
    x = rand(3, 2, 80)
    found = pooled_features(x, "series")
    assert torch.allclose(found.features, x.view(3, 2, 8, 10).mean(3).flatten(1), atol=1e-6)
    assert found.names[8] == "channel 1, segment 1"
    many = pooled_features(rand(3, 12, 80), "series")
    assert many.features.shape == (3, 8)
    assert torch.allclose(pooled_features(x[:, 0], "series").features, x[:, 0].view(3, 8, 10).mean(2), atol=1e-6)


def test_tabular_rows_stay_as_they_are():
    x = rand(4, 5)
    found = pooled_features(x, "tabular")
    assert torch.equal(found.features, x)
    assert found.parts.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("shape", "kind"), [((4, 9), "tokens"), ((4, 9), "image")])
def test_what_has_no_regions_is_refused(shape, kind):
    with pytest.raises(ValueError, match="`inputs` is"):
        pooled_features(torch.zeros(shape), kind)


def test_channels_have_the_names_and_numbers_of_every_picture(written):
    from lightning_posttrain.samples.render.series import channel_legend

    for names in ((), ("voltage", "slope")):
        written.clear()
        list(channel_legend(2, names))
        pooled = pooled_features(torch.rand(3, 2, 16), "series", names)
        assert [text for text, _ in written] == list(dict.fromkeys(each.split(",")[0] for each in pooled.names))
