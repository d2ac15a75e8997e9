from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_posttrain.saliency.render.samples_table import saliency_table
from lightning_posttrain.samples.render import captions, grid, maps
from lightning_posttrain.samples.render import sheet as attribution
from lightning_posttrain.samples.render.overview import maps_image
from lightning_posttrain.samples.result import Sample
from tests.samples.explained import FOUR, TITLES, explained, images, rows, series, texts

WHY = "12 % of the change is missing: try integrated gradients"


def said(written):
    return [text for text, _ in written]


@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (28, 28), (224, 224), (1024, 1024), (40, 160), (160, 40), (8, 2048), (2048, 8)]
)
def test_every_size_of_image_gives_a_grid_of_the_same_width(height, width):
    pixels = maps_image(images(height, width, count=1)).pixels
    assert pixels.shape[1:] == (700, 3)
    assert pixels.dtype == torch.uint8


@pytest.mark.parametrize(
    "result",
    [images(), explained("spectrogram", torch.rand(2, 16, 20, 3), (2, 16, 20)), series(), rows(), texts([["a"]])],
)
def test_every_kind_has_its_picture(result, written):
    pixels = maps_image(result, title="val").pixels
    assert pixels.shape[1:] == (700, 3)
    assert any(text.startswith("val · why") for text in said(written))


@pytest.mark.parametrize("count", range(7))
def test_cells_are_never_narrower_than_130_pixels_nor_more_than_five_in_a_line(count):
    layout = grid._layout(images(methods=tuple(TITLES)[:count]))
    assert layout.width >= 130
    assert layout.columns <= 5


@pytest.mark.parametrize(("height", "width", "columns"), [(8, 8, 5), (40, 160, 2), (8, 2048, 1)])
def test_wider_pictures_stand_fewer_in_a_line(height, width, columns):
    assert grid._layout(images(height, width, count=1)).columns == columns


def test_more_methods_than_a_line_holds_go_on_in_the_next():
    few, many = (maps_image(images(count=1, methods=tuple(TITLES)[:n])).pixels for n in (2, 6))
    assert many.shape[0] >= few.shape[0] + grid._layout(images(count=1, methods=tuple(TITLES)[:6])).height
    assert grid._across(8, 4) == 4
    assert grid._across(6, 4) == 3
    assert grid._across(5, 4) == 5


def test_a_thin_picture_is_stretched_to_be_seen_and_says_so(written):
    assert grid._layout(images(8, 2048, count=1)).picture == (40, 684)
    maps_image(images(8, 2048, count=1))
    assert any("stretched" in text for text in said(written))


def test_captions_give_position_prediction_probability_and_actual_class(written):
    maps_image(images(), title="val")
    captions = {text: options["color"] for text, options in written if "actual" in text}
    assert captions == {
        "#4  predicted cat (>99.9%), actual cat": attribution.RIGHT,
        "predicted cat (50.0%), actual dog": attribution.WRONG,
        "#7  predicted cat (100.0%), actual cat": attribution.RIGHT,
    }


def test_captions_say_what_is_explained_where_it_is_not_the_predicted_class(written):
    maps_image(images())
    assert [text for text in said(written) if text.startswith("explained")] == ["explained: cat rather than dog"]


def test_without_classes_a_caption_gives_the_output(written):
    maps_image(images(count=1, samples=(Sample(12, "output", 3.412),)))
    assert ("#12  output 3.41", attribution.INK) in [(text, options.get("color")) for text, options in written]


def test_without_an_actual_class_a_caption_is_neither_right_nor_wrong():
    lines, color = captions.headline(Sample(1, "cat", 1.0, predicted="cat"))
    assert (lines, color) == (["#1  predicted cat"], attribution.INK)


def test_signed_maps_are_white_at_zero_red_above_and_blue_below():
    values = np.array([[0.0, 2.0], [-2.0, 0.0]], dtype=np.float32)
    cell = maps.map_pixels(values, 2.0, True, size=(2, 2)).astype(int)
    assert cell[0, 0].min() > 240
    assert cell[0, 1][0] > cell[0, 1][2] + 50
    assert cell[1, 0][2] > cell[1, 0][0] + 50


def test_unsigned_maps_grow_lighter():
    cell = maps.map_pixels(np.array([[0.0, 0.5, 1.0]], dtype=np.float32), 1.0, False, size=(1, 3)).astype(int)
    assert (np.diff(cell.sum(axis=2)) > 0).all()


def test_one_hot_pixel_hides_no_others():
    values = np.full((20, 20), 0.5, dtype=np.float32)
    values[0, 0] = 1000
    assert attribution.scale_of(values) == 0.5


def test_a_single_hot_pixel_is_its_own_scale():
    values = np.zeros((20, 20), dtype=np.float32)
    values[0, 0] = -3
    assert attribution.scale_of(values) == 3.0


def test_the_scale_of_each_map_is_written_below_it(written):
    result = images(count=1, methods=("saliency", "integrated_gradients"))
    full = {"saliency": torch.full((1, 8, 8), 0.0312), "integrated_gradients": torch.full((1, 8, 8), -0.5)}
    maps_image(replace(result, maps=full))
    assert {"0–0.0312", "±0.5"} <= set(said(written))


def test_a_shared_scale_is_one_a_method_and_stands_in_the_foot(written):
    result = images(methods=("integrated_gradients",), shared_scale=True)
    growing = torch.ones(3, 8, 8) * torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    maps_image(replace(result, maps={"integrated_gradients": growing}))
    assert "±4" not in said(written)
    assert any("Integrated gradients ±4" in text for text in said(written))


def test_refused_maps_have_no_say_in_a_shared_scale():
    result = images(methods=("saliency",), shared_scale=True, refused={"saliency": {2: WHY}})
    values = np.ones((3, 8, 8), np.float32) * np.array([1, 2, 400], np.float32).reshape(3, 1, 1)
    assert attribution.scales(result, {"saliency": values}) == {"saliency": [2.0, 2.0, 2.0]}


def test_a_refused_map_is_a_box_with_the_whole_reason(written):
    maps_image(images(8, 8, refused={"saliency": {1: WHY}}))
    assert set(WHY.split()) <= set(" ".join(said(written)).split())
    scale_texts = [text for text in said(written) if text.startswith("0–")]
    assert len(scale_texts) == 3 + 2  # HiResCAM of each sample, saliency of two


def test_the_box_of_a_reason_is_high_enough_in_a_low_cell(written):
    long = " ".join([WHY] * 6)
    maps_image(images(60, 150, refused={"saliency": {1: long}}))
    assert long in " ".join(said(written))


def test_a_line_has_room_for_scales_only_where_it_has_some():
    layout = grid._layout(images())
    cell = grid.Cell("Input", np.zeros((layout.height, layout.width, 3), np.uint8))
    bare, scaled = (grid._line([cell, other], layout) for other in (cell, replace(cell, below="±1")))
    assert len(scaled) == len(bare) + grid.LINE


def test_a_map_that_is_zero_everywhere_says_so(written):
    result = images(count=1)
    maps_image(replace(result, maps={**result.maps, "hirescam": torch.zeros(1, 8, 8)}))
    assert "all zero" in said(written)


def test_values_that_are_not_finite_are_drawn_as_zero_and_said(written):
    result = images(count=1, methods=("saliency",))
    result.maps["saliency"][0, 0, 0] = torch.inf
    result.maps["saliency"][0, 0, 1] = torch.nan
    assert attribution.cleaned(result.maps["saliency"])[0, 0, :2].tolist() == [0.0, 0.0]
    maps_image(result)
    assert "Saliency has values that are not finite; they are drawn as 0." in said(written)


def test_sums_that_overflow_are_not_taken_for_values_that_are_not_finite():
    assert attribution.is_finite(np.full(10, 3e38, np.float32))


def test_a_class_activation_map_lies_over_the_input_and_others_do_not():
    result = images(40, 40, count=1)
    dark = replace(result, shown=torch.zeros(1, 40, 40, 3), maps={k: v * 0 + 1e-9 for k, v in result.maps.items()})
    layout = grid._layout(dark)
    drawn = grid.Grid(dark, layout, {k: v.numpy() for k, v in dark.maps.items()}, {k: [1.0] for k in dark.maps})
    cells = {cell.title: cell.pixels[10:30, 10:30].mean() for cell in drawn.cells(0, dark.shown[0].numpy())}
    assert cells[dark.titles["hirescam"]] < 5
    assert cells[dark.titles["integrated_gradients"]] > 240


def test_large_images_are_photographs_and_small_ones_are_not():
    assert maps_image(images(100, 100)).photo
    assert not maps_image(images(8, 8)).photo


def test_an_overlay_is_grey_at_zero_and_coloured_by_sign():
    picture = np.full((2, 2, 3), 100, dtype=np.uint8)
    mixed = maps.overlay_pixels(picture, np.array([[0, 1], [-1, 0]], np.float32), 1.0, True).astype(int)
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert mixed[0, 1][0] > mixed[0, 1][2] + 50
    assert mixed[1, 0][2] > mixed[1, 0][0] + 50


def test_a_map_larger_than_its_cell_is_averaged_over_areas(written):
    values = torch.arange(16.0).view(1, 4, 4).numpy()
    assert maps.reduced(values, 2, 2).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    assert maps.reduced(values, 4, 9) is values
    maps_image(images(400, 400, count=1))
    assert any("mean" in text for text in said(written))


def test_the_low_frequencies_of_a_spectrogram_are_at_the_bottom(written):
    shown, values = torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 16)
    shown[:, :2, :, 0], values[:, :2] = 1, 1  # the lowest frequencies are loud, and what counts
    result = explained("spectrogram", shown, (1, 16, 16), ("saliency",))
    pixels = maps_image(replace(result, maps={"saliency": values})).pixels
    for low, high in (((255, 0, 0), (0, 0, 0)), ((253, 231, 37), (68, 1, 84))):
        loud, quiet = ((pixels == torch.tensor(color)).all(dim=2).nonzero()[:, 0] for color in (low, high))
        assert quiet.max() < loud.min()
    assert any("time →" in text and "frequency ↑" in text for text in said(written))


def test_notes_are_never_cut(written):
    reason = "needs " + "very " * 60 + "many passes of a_model_whose_name_is_" + "x" * 90
    maps_image(images(skipped={"occlusion": reason}, alarms=("Look here.",)))
    told = "".join(said(written)).replace(" ", "")
    assert f"Occlusion: {reason}".replace(" ", "") in told
    assert ("Look here.", attribution.WRONG) in [(text, options.get("color")) for text, options in written]


def test_without_any_map_the_inputs_alone_are_drawn(written):
    assert maps_image(images(methods=())).pixels.shape[1] == 700
    assert said(written).count("Input") == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.03123, "0.0312"), (2019.4, "2019"), (1.23e-5, "1.23e-5"), (1.5e7, "1.5e7"), (0, "0"), (-341.26, "-341")],
)
def test_numbers_have_three_digits(value, text):
    assert attribution.number(value) == text


def test_the_table_names_the_samples_and_the_gaps():
    table = saliency_table(images(gaps={"integrated_gradients": (0.1, 0.2, 0.3)}))
    assert table.columns == (
        "index", "actual", "predicted", "probability", "explained", "value", "integrated_gradients gap",
    )  # fmt: skip
    assert table.rows[1] == (None, "dog", "cat", 0.5, "cat rather than dog", 0.5, 0.2)
    assert "gap" in table.note


def test_the_table_without_gaps_says_nothing_of_them():
    table = saliency_table(images(skipped={"lime": "not for images"}))
    assert table.columns[-1] == "value"
    assert table.note == "Lime: not for images."


def test_all_four_methods_have_their_titles(written):
    maps_image(images(count=1))
    words = set(" ".join(said(written)).split())
    assert {word for name in FOUR for word in TITLES[name].split()} <= words


def test_what_to_know_before_stands_above_the_maps_and_once(written):
    for alarms, there in (((), False), (("look here first",), True)):
        written.clear()
        pixels = maps_image(images(alarms=alarms)).pixels[44:75]
        assert bool((pixels == torch.tensor(attribution.WRONG, dtype=torch.uint8)).all(2).any()) == there
        assert sum("ook here first" in text for text, _ in written) == there


def test_a_map_over_a_picture_leaves_it_to_be_seen_and_outlines_the_strongest_fifth():
    stripes = np.zeros((50, 50, 3), np.uint8)
    stripes[:, ::2] = 255
    values = np.zeros((50, 50), np.float32)
    values[:20, :20] = 1
    mixed = maps.overlay_pixels(stripes, values, 1.0, True).astype(int)
    outlined = (mixed == np.array(maps.OUTLINE)).all(2)
    assert outlined.any()
    assert not outlined[25:, 25:].any()
    inside = ~outlined[2:15, 2:14]
    light, dark = mixed[2:15, 2:14:2][inside[:, ::2]], mixed[2:15, 3:14:2][inside[:, 1::2]]
    assert (light.mean(0) - dark.mean(0)).min() > 100
