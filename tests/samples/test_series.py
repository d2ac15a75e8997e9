import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.samples.render import series as drawing
from lightning_posttrain.samples.render import sheet as attribution
from lightning_posttrain.samples.render.overview import maps_image
from lightning_posttrain.samples.result import Sample, SampleMaps
from tests import toys
from tests.samples.explained import series


@pytest.mark.parametrize("length", [1, 8, 684, 685, 100_000])
def test_any_length_is_as_wide_as_the_sheet(length):
    assert maps_image(series(length)).pixels.shape[1:] == (700, 3)


def test_a_column_has_the_largest_magnitude_of_the_steps_it_stands_for():
    values = np.array([[4, -5, 1, 2, 3, -1, 0, 0]], np.float32)
    assert drawing.strongest(values, 4).tolist() == [[-5, 2, 3, 0]]


def test_fewer_steps_than_columns_are_repeated():
    assert drawing.strongest(np.array([[1, -2]], np.float32), 4).tolist() == [[1, 1, -2, -2]]


def test_a_spike_between_columns_is_drawn():
    signal = np.zeros(100_000, np.float32)
    signal[54_321] = 1
    (line,) = drawing.polylines(signal, 100, 50.0)
    x, y = min(line, key=lambda point: point[1])
    assert y == 0.0
    assert x == pytest.approx(54.5)


def test_a_line_is_broken_where_the_signal_is_not_finite():
    signal = np.array([0, 1, np.nan, np.inf, 1, 0, 1], np.float32)
    assert [len(piece) for piece in drawing.polylines(signal, 70, 50.0)] == [2, 3]


def test_a_signal_that_does_not_change_is_a_line_in_the_middle():
    (line,) = drawing.polylines(np.full(5, 3.0, np.float32), 10, 50.0)
    assert {y for _, y in line} == {25.0}


def test_a_signal_that_is_nowhere_finite_is_no_line():
    assert list(drawing.polylines(np.full(5, np.nan, np.float32), 10, 50.0)) == []


def test_the_ground_is_red_where_it_speaks_for_and_blue_where_against():
    colors = attribution.shaded(np.array([1, 0, -1], np.float32), True).astype(int)
    assert colors[1].tolist() == [255, 255, 255]
    assert colors[0][0] > colors[0][2] + 100
    assert colors[2][2] > colors[2][0] + 100


def test_the_ground_of_a_method_without_sign_is_orange():
    red, green, blue = attribution.shaded(np.array(1.0, np.float32), False).tolist()
    assert red > green > blue


def test_strips_are_coloured_where_the_attribution_is():
    result = series(4, count=1, methods=("integrated_gradients",))
    result.maps["integrated_gradients"][:] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    pixels = maps_image(result).pixels.int()
    red = (pixels[..., 0] - pixels[..., 2] > 80)[:, 8:692].any(dim=0)
    assert red[530:683].all()
    assert not red[:500].any()


def test_each_strip_has_its_title_and_scale_and_the_axis_its_ticks(written):
    maps_image(series(50, count=1))
    said = [text for text, _ in written]
    assert {"Saliency", "Integrated gradients", "0", "20", "40", "time →"} <= set(said)
    assert sum(text.startswith("±") for text in said) == 1


def test_ticks_stay_on_the_sheet(written):
    drawing.time_axis(100_001)
    assert [text for text, _ in written] == ["0", "20000", "40000", "60000", "80000", "100000"]


def test_channels_are_named_and_those_that_are_not_drawn_counted(written):
    maps_image(series(20, channels=8, names=tuple(f"lead {i}" for i in range(8))))
    said = [text for text, _ in written]
    assert "lead 5" in said
    assert "lead 6" not in said
    assert "Drawn are the first 6 of 8 channels." in said


def test_channels_without_names_are_numbered(written):
    maps_image(series(20, channels=2))
    assert {"channel 0", "channel 1"} <= {text for text, _ in written}


def test_channels_lie_one_above_the_other_in_their_colours():
    lines = drawing.signal_pixels(torch.zeros(2, 10), 100, 90)
    solid = [
        np.unique(np.flatnonzero((lines[..., :3] == color).all(axis=2).any(axis=1))) for color in drawing.CHANNELS[:2]
    ]
    assert solid[0].max() < solid[1].min()


def test_a_refused_strip_gives_the_reason_and_a_strip_of_zeros_says_so(written):
    result = series(20, refused={"saliency": {0: "no gradient here"}})
    result.maps["integrated_gradients"][1] = 0
    maps_image(result)
    said = [text for text, _ in written]
    assert "no gradient here" in said
    assert said.count("all zero") == 1


def test_without_any_map_the_signal_alone_is_drawn(written):
    assert maps_image(series(20, methods=())).pixels.shape[1] == 700
    assert [text for text, _ in written].count("Input") == 2


class TwoChannels(toys.Net):
    """Reads the second channel alone."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 40, 3))
        with torch.no_grad():
            self.model[1].weight[:, :40] = 0


def test_maps_of_each_channel_add_up_to_the_map_and_tell_which_channel_is_read():
    from lightning_posttrain import SaliencyMaps

    maps = SaliencyMaps(methods=["input_x_gradient", "saliency"], samples=3, kind="series", on_error="raise")
    data = TensorDataset(torch.randn(12, 2, 40), torch.arange(12) % 3)
    toys.quiet(maps).validate(TwoChannels(), DataLoader(data, batch_size=4), verbose=False)
    result = maps.results["val"]
    for name, join in (("input_x_gradient", lambda each: each.sum(1)), ("saliency", lambda each: each.amax(1))):
        each = result.by_channel[name]
        assert each.shape == (3, 2, 40)
        torch.testing.assert_close(join(each), result.maps[name])
        assert bool((each[:, 0] == 0).all())
        assert bool((each[:, 1] != 0).any())


def test_each_lane_of_a_strip_has_the_colours_of_its_channel(monkeypatch):
    from lightning_posttrain.samples.render import series as drawing

    grounds = []
    over = drawing.over
    monkeypatch.setattr(drawing, "over", lambda lines, ground: grounds.append(ground) or over(lines, ground))
    result = SampleMaps(
        "series", torch.zeros(1, 2, 20), {"a": torch.ones(1, 20)}, {"a": "A"}, frozenset({"a"}),
        (Sample(0, "cat", 1.0),), by_channel={"a": torch.stack([torch.ones(20), -torch.ones(20)])[None]},
    )  # fmt: skip
    drawing.series_image(result)
    (ground,) = grounds
    upper, lower = ground[0, 0].astype(int), ground[-1, 0].astype(int)
    assert upper[0] > upper[2]
    assert lower[0] < lower[2]
