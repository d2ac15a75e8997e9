import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_posttrain.core.drawing.canvas import WIDTH, width_of
from lightning_posttrain.feature_maps.followed import FollowedStage
from lightning_posttrain.feature_maps.functional import Moments
from lightning_posttrain.feature_maps.render.head import channel_colors, energy_levels
from lightning_posttrain.feature_maps.render.overview import feature_maps_image
from lightning_posttrain.feature_maps.render.table import stages_table
from lightning_posttrain.feature_maps.result import FeatureMapsResult


def stage(name, shape, layer="Sequential", signed=False, rows=5):
    maps = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(len(name)))
    maps = maps if signed else maps.relu()
    return FollowedStage(name, layer).maps(Moments.of(maps), maps[:2])


def result(kind, shown, *stages, **options):
    return FeatureMapsResult(kind, tuple(range(5)), stages, shown=shown, **options)


def images(*stages, kind="image", sides=(24, 24), **options):
    stages = stages or (stage("model.layer1", (16, 12, 12)), stage("model.layer2", (24, 6, 6), signed=True))
    return result(kind, torch.rand(2, *sides, 3), *stages, **options)


def texts(written):
    return [text for text, _ in written]


def test_a_caption_says_name_class_shape_figures_maximum_and_channels(written):
    found = images()
    feature_maps_image(found, title="val")
    said = texts(written)
    assert "val · what each level sees" in said
    assert {"model.layer1", "Sequential  16 × 12 × 12", "model.layer2", "Sequential  24 × 6 × 6"} <= set(said)
    for each in found.stages:
        assert {f"ch {channel}" for channel in each.channels} <= set(said)
        assert f"max {each.peak:.3g}" in said
        assert f"{sum(each.explained):.0%}" in said
    assert any(text.startswith("dead channels 0%  ·  effective rank ") for text in said)
    assert any("red is above 0, blue below" in text for text in said)


@pytest.mark.parametrize(
    "found",
    [
        images(),
        images(sides=(24, 96)),
        images(sides=(96, 12)),
        images(sides=(200, 200)),
        images(kind="spectrogram", sides=(40, 100)),
        images(stage("model." + "a_long_name." * 9 + "block", (600, 3, 3), "ALongNameOfAClassOfLayers", rows=2)),
        images(stage("one", (1, 5, 5)), stage("two", (2, 5, 5), signed=True), stage("three", (3, 5, 5))),
        result("series", torch.randn(2, 3, 90), stage("stem", (8, 90)), stage("s", (9, 23), signed=True)),
        result("series", torch.randn(2, 1, 2000), stage("stem", (8, 2000))),
        result("tokens", torch.ones(2, 5), stage("e", (8, 5), signed=True), words=(("a", "b", "c", "d", ""),) * 2),
    ],
    ids=str,
)
def test_no_text_leaves_the_sheet_and_none_lies_over_another(found, written):
    picture = feature_maps_image(found, title="val").pixels
    assert picture.shape[1:] == (WIDTH, 3)
    for text, options in written:
        assert width_of(text, options.get("size", 22)) <= WIDTH - 16


def test_columns_of_channels_have_room_for_their_names(written):
    channels = stage("wide", (1200, 3, 3), rows=3)
    feature_maps_image(images(replace(channels, channels=tuple(range(1190, 1198)))))
    names = [text for text, options in written if re.fullmatch(r"(ch )?11\d\d", text)]
    assert len(names) == 8
    assert max(width_of(name, 17) for name in names) <= 68


def test_a_stage_has_one_scale_of_energy_and_reaches_it():
    levels = energy_levels(stage("layer", (8, 6, 6)))
    assert levels.max() == 1
    assert levels.min() >= 0


def test_a_signed_channel_is_white_at_0_red_above_and_blue_below():
    colors = channel_colors(torch.tensor([[[-2.0, 0.0, 2.0]]]), signed=True)[0, 0].astype(int)
    assert colors[1].min() > 240
    assert colors[0][2] > colors[0][0]
    assert colors[2][0] > colors[2][2]


def test_each_channel_is_drawn_in_its_own_range():
    maps = torch.rand(2, 6, 6)
    assert np.array_equal(channel_colors(maps, signed=False), channel_colors(1000 * maps, signed=False))
    assert (
        channel_colors(torch.full((1, 4, 4), 3.0), signed=False) == channel_colors(torch.zeros(1, 4, 4), signed=False)
    ).all()


def test_low_frequencies_of_a_spectrogram_are_at_the_bottom():
    shown = torch.zeros(2, 40, 60, 3)
    shown[:, :5] = 1
    picture = feature_maps_image(result("spectrogram", shown, stage("layer", (8, 10, 15)))).pixels.numpy()
    column = picture[:, 40, 0].astype(int)
    first = np.flatnonzero((column[:-1] < 40) & (column[1:] > 200))[0]
    assert (column[first + 1 : first + 8] > 200).all()  # white below the dark of the high frequencies


def test_padding_of_tokens_is_left_empty():
    words = (("a", "b", "", ""), ("a", "", "", ""))
    found = result("tokens", torch.ones(2, 4), stage("layer", (8, 4), signed=True), words=words)
    picture = feature_maps_image(found).pixels.numpy()
    grey = (picture == (236, 237, 239)).all(2).sum()
    assert grey > 9 * 18 * 584 * (2 + 3) / 4 * 0.9


def test_what_is_alarming_stands_in_red(written):
    feature_maps_image(images(skipped={"model.spare": "the forward does not call it"}))
    red = " ".join(text for text, options in written if options.get("color") == (197, 34, 31))
    assert red.startswith("no feature maps of `model.spare`: the forward does not call it.")


def test_the_table_has_a_row_for_each_stage():
    found = images()
    table = stages_table(found)
    assert [row[0] for row in table.rows] == ["model.layer1", "model.layer2"]
    assert table.rows[0][2] == "16 × 12 × 12"
    assert table.rows[0][4] == found.stages[0].effective_rank
    assert "Over 5 samples." in table.note
    broken = FollowedStage("n", "Conv2d").maps(Moments.of(torch.full((2, 3, 4, 4), math.nan)), torch.zeros(2, 3, 4, 4))
    assert stages_table(images(broken)).rows[0][4] is None


def test_a_picture_can_be_saved(tmp_path):
    pixels = feature_maps_image(images()).pixels
    assert pixels.dtype == torch.uint8
    Image.fromarray(pixels.numpy()).save(tmp_path / "maps.png")
