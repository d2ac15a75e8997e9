from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR, STRENGTH
from lightning_posttrain.core.drawing.canvas import INK
from lightning_posttrain.samples.render import grid, regions
from lightning_posttrain.samples.render.overview import maps_image
from lightning_posttrain.samples.render.sheet import NO_PART
from tests.samples.explained import TITLES, explained, images, series, texts

WORDS = (("a", "b", "c"), ("d", "e", "f"))

NAMED = {**TITLES, "lime": "LIME", "anchors": "Anchors"}
GRAY = np.full((40, 40, 3), 100, dtype=np.uint8)


def halves(height, width):
    """The left half is part 0, the right half part 1."""
    return (torch.arange(width) >= width // 2).long().expand(height, width)


def of_parts(result, *, rule=(1, 0)):
    """A result with a map of two parts and a rule."""
    labels = halves(*result.shown.shape[1:3]).expand(len(result.shown), -1, -1)
    maps = {"lime": torch.tensor([2.0, -2.0])[labels], "anchors": torch.tensor(rule).float()[labels]}
    return replace(result, maps=maps, titles=NAMED, signed=frozenset({"lime"}), layer=None, regions=labels)


def cells_of(result):
    """The pixels of each cell of the first sample, by title."""
    drawn = []
    pieces = grid.Grid.pieces

    def noted(self, row, picture):
        drawn.extend(self.cells(row, picture))
        return pieces(self, row, picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid.Grid, "pieces", noted)
        maps_image(result)
    return {cell.title: cell for cell in reversed(drawn)}


def said(written):
    return [text for text, _ in written]


def hue(pixels):
    return np.array(pixels).reshape(-1, 3).mean(0)


@pytest.mark.parametrize(
    "result",
    [
        images(8, 8), images(28, 28), images(224, 224, count=1), images(1024, 1024, count=1), images(8, 2048, count=1),
        explained("spectrogram", torch.rand(2, 16, 20, 3), (2, 16, 20)),
    ],
)  # fmt: skip
def test_every_size_with_regions_gives_a_picture_of_the_same_width(result):
    pixels = maps_image(of_parts(result)).pixels
    assert pixels.shape[1:] == (700, 3)
    assert pixels.dtype == torch.uint8


def test_borders_are_crisp_lines_of_two_pixels_at_the_size_that_is_drawn():
    edges = regions.borders(regions.enlarged(halves(8, 8).numpy(), 130, 130))
    assert edges.any(axis=0).nonzero()[0].tolist() == [64, 65]
    assert edges.all(axis=0).sum() == 2


@pytest.mark.parametrize(("shape", "size"), [((8, 8), (131, 97)), ((224, 224), (164, 164)), ((5, 9), (5, 9))])
def test_a_label_is_enlarged_as_its_picture_is(shape, size):
    from lightning_posttrain.core.drawing.canvas import resized

    labels = np.random.default_rng(0).integers(0, 200, shape)
    found = regions.enlarged(labels, *size)
    assert found.shape == size
    if size >= shape:
        assert (found == resized(labels.astype(np.uint8), *size)).all()
    assert set(found.ravel()) <= set(labels.ravel())


def test_diagonal_steps_and_all_four_sides_are_borders():
    labels = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert regions.borders(labels).tolist() == [[False, True, False], [True, True, True], [False, True, False]]
    assert not regions.borders(np.zeros((3, 3), int)).any()


def test_the_input_has_lines_between_its_parts_and_nowhere_else():
    result = replace(of_parts(images(40, 40, count=1)), shown=torch.full((1, 40, 40, 3), 0.5))
    pixels = cells_of(result)["Input"].pixels[5:-5, 5:-5]
    changed = (pixels != 128).any(axis=2)
    assert changed.all(axis=0).sum() == 2
    assert changed.any(axis=0).sum() == 2


def test_a_part_that_speaks_for_is_red_and_one_that_speaks_against_blue():
    values = np.where(halves(40, 40).numpy() == 0, 1, -1).astype(np.float32)
    edges = regions.borders(values)
    pixels = regions.region_pixels(GRAY, values, edges, scale=1.0, signed=True)
    assert np.abs(hue(pixels[:, :19]) - FOR).max() < 40
    assert np.abs(hue(pixels[:, 21:]) - AGAINST).max() < 40


def test_strength_without_a_sign_is_orange_and_zero_is_the_pale_picture():
    values = np.where(halves(40, 40).numpy() == 0, 1, 0).astype(np.float32)
    pixels = regions.region_pixels(GRAY, values, regions.borders(values), scale=1.0, signed=False)
    assert np.abs(hue(pixels[:, :19]) - STRENGTH).max() < 40
    assert np.ptp(pixels[:, 21:]) == 0
    assert pixels[0, -1, 0] > 100


def test_the_picture_can_be_seen_through_a_map_of_parts():
    picture = GRAY.copy()
    picture[::2] = 200
    values = np.full((40, 40), 1.0, np.float32)
    pixels = regions.region_pixels(picture, values, regions.borders(values), scale=1.0, signed=True).astype(int)
    assert (np.abs(pixels[0] - pixels[1]).max(axis=1) >= 4).all()


def test_the_parts_of_a_rule_stay_as_they_are_and_the_rest_is_paled_and_grey():
    picture = GRAY * np.array([1.0, 0.5, 0.2])
    picture = picture.astype(np.uint8)
    values = (halves(40, 40).numpy() == 0).astype(np.float32)
    pixels = regions.rule_pixels(picture, values, regions.borders(values))
    assert (pixels[10:30, 5:15] == picture[10:30, 5:15]).all()
    rest = pixels[10:30, 25:35]
    assert (rest == rest[..., :1]).all()
    assert rest.mean() > picture.mean() + 60


def test_the_outline_of_a_rule_is_closed_also_at_the_edge_of_the_picture():
    values = (halves(40, 40).numpy() == 0).astype(np.float32)
    pixels = regions.rule_pixels(GRAY, values, regions.borders(values))
    dark = (pixels == INK).all(axis=2)
    assert dark[0, :19].all()
    assert dark[-1, :19].all()
    assert dark[:, 0].all()
    assert dark[:, 19].all()
    assert not dark[:, 25:].any()


def test_two_neighbouring_parts_of_a_rule_have_one_outline():
    values = np.ones((40, 40), np.float32)
    pixels = regions.rule_pixels(GRAY, values, regions.borders(halves(40, 40).numpy()))
    assert (pixels[10:30, 10:30] == 100).all()


def test_a_rule_without_parts_says_so_and_no_scale_is_told_of_rules(written):
    result = of_parts(images(count=1), rule=(0, 0))
    cells = cells_of(result)
    assert cells["Anchors"].below == ""
    assert cells["LIME"].below == "±2"
    assert set(NO_PART.split()) <= set(" ".join(said(written)).split())
    assert not any("all zero" in text for text in said(written))


def test_the_foot_says_how_to_read_parts_and_rules(written):
    maps_image(of_parts(images(count=1)))
    foot = " ".join(said(written))
    assert "Thin lines are the borders of the parts." in foot
    assert "One colour alone" not in foot


@pytest.mark.parametrize("make", [series, partial(texts, WORDS)])
def test_rules_of_series_and_texts_have_no_scale_either(written, make):
    result = make(methods=("saliency", "anchors"))
    maps = {**result.maps, "anchors": torch.zeros_like(result.maps["anchors"])}
    maps["anchors"][0, 1] = 1.0
    maps_image(replace(result, maps=maps))
    text = " ".join(said(written))
    assert NO_PART in text
    assert "0–1 " not in text
    assert "all zero" not in text


def test_a_shared_scale_is_not_told_for_rules(written):
    maps_image(replace(of_parts(images()), shared_scale=True))
    assert any("LIME ±2" in text for text in said(written))
    assert not any("Anchors 0" in text for text in said(written))


def test_pictures_without_regions_are_as_they_were(written):
    maps_image(images(count=1))
    assert not any("borders" in text for text in said(written))


def test_the_parts_of_a_spectrogram_are_turned_with_it():
    shown = torch.zeros(1, 16, 16, 3)
    low = (torch.arange(16) >= 4).long()[:, None].expand(1, 16, 16)  # part 0: the lowest quarter
    result = of_parts(explained("spectrogram", shown, (1, 16, 16)))
    result = replace(result, regions=low, maps={"lime": torch.where(low == 0, 1.0, 0.0)})
    pixels = cells_of(result)["LIME"].pixels[2:-2, 2:-2].astype(int)
    red = (pixels[..., 0] > pixels[..., 2] + 50).any(axis=1).nonzero()[0]
    assert red.min() > 0.7 * len(pixels)
    line = (pixels[..., 0] == pixels[..., 0].max()).all(axis=1)
    assert not line[: len(pixels) // 2].any()


def squares(side, cells):
    """Square parts, so many in a row, in an image of so many pixels a side."""
    place = torch.arange(side) * cells // side
    return (place[:, None] * cells + place)[None]


def ruled(side, cells, named, kind="image", **more):
    """A result whose rule is of some square parts."""
    labels = squares(side, cells)
    base = explained(kind, torch.full((1, side, side, 3), 0.5), (1, side, side), methods=("anchors",), **more)
    kept = torch.zeros(cells * cells)
    kept[list(named)] = 1.0
    return replace(base, maps={"anchors": kept[labels]}, titles=NAMED, regions=labels, marks=(named,))


@pytest.mark.parametrize(("side", "cells"), [(8, 4), (8, 6), (96, 6), (224, 8)])
def test_the_parts_of_a_rule_have_their_numbers_in_their_middle(written, side, cells):
    named = {1: "1,2", cells * cells - 1: "41"}
    cell = cells_of(ruled(side, cells, named))["Anchors"]
    places = {text: options for text, options in written if text in named.values()}
    assert set(places) == {"1,2", "41"}
    assert all(options["halo"] == regions.WHITE and options["size"] >= 15 for options in places.values())
    assert cell.pixels.shape[2] == 3


def test_a_number_lies_inside_of_its_part_even_where_that_is_bent():
    labels = np.zeros((90, 90), np.int64)
    labels[10:80, 10:80] = 1
    labels[10:66, 24:80] = 0  # an L of which the centre of mass is outside
    row, column, depth = regions._middle(labels == 1)
    assert labels[row, column] == 1
    assert 6 <= depth <= 10
    drawn = regions.marked(np.full((90, 90, 3), 128, np.uint8), labels, {1: "7", 5: "8"})
    changed = np.argwhere((drawn != 128).any(axis=2))
    assert np.abs(changed.mean(0) - (row, column)).max() < 4


@pytest.mark.parametrize("where", [np.s_[:, :6], np.s_[:, -6:], np.s_[:6], np.s_[-6:]])
def test_the_number_of_a_thin_part_at_the_edge_is_whole(where):
    labels = np.zeros((90, 90), np.int64)
    labels[where] = 1
    drawn = regions.marked(np.full((90, 90, 3), 128, np.uint8), labels, {1: "36"})
    changed = (drawn != 128).any(axis=2)
    middle = regions.marked(np.full((90, 90, 3), 128, np.uint8), np.eye(90, dtype=np.int64), {1: "36"})
    assert abs(int(changed.sum()) - int((middle != 128).any(axis=2).sum())) < 30


def test_the_numbers_of_a_spectrogram_are_turned_with_it(monkeypatch):
    named = {0: "1,1"}
    seen = []
    monkeypatch.setattr(regions, "_middle", lambda inside: seen.append(np.argwhere(inside).mean(0)) or (9, 9, 9))
    maps_image(ruled(16, 4, named, "spectrogram"))
    assert seen[0][0] > seen[0][1]


def test_parts_without_a_number_are_not_written_on(written):
    maps_image(ruled(8, 4, {}))
    assert not any(options.get("halo") for _, options in written)


def test_maps_of_tiny_probabilities_are_pale_and_the_foot_says_why(written):
    result = replace(of_parts(images(40, 40)), shared_scale=True, least_scale=0.01)
    tiny = {**result.maps, "lime": 2.5e-6 * result.maps["lime"]}
    pale = cells_of(replace(result, maps=tiny))["LIME"].pixels
    text = " ".join(said(written))
    assert "Hiding a part hardly changes the probability (by at most 5.0e-6): try output='logit'." in text
    assert "LIME ±0.01" in text
    strong = cells_of(result)["LIME"].pixels
    spread = [np.ptp(pixels[5:-5, 5:-5].astype(int), axis=2).max() for pixels in (pale, strong)]
    assert spread[0] < 10  # of 255
    assert spread[1] > 80


def test_without_a_least_scale_tiny_values_are_drawn_in_full_colour(written):
    result = of_parts(images(40, 40))
    cell = cells_of(replace(result, maps={**result.maps, "lime": 2.5e-6 * result.maps["lime"]}))["LIME"]
    assert np.ptp(cell.pixels[5:-5, 5:-5].astype(int), axis=2).max() > 80
    assert "hardly changes" not in " ".join(said(written))


def test_a_rule_that_says_nothing_is_a_box_that_says_so_and_no_wrong_map(written):
    maps_image(replace(of_parts(images(count=1)), refused={"anchors": {0: "no rule found"}}))
    assert "no rule found" in " ".join(said(written))
    assert "known to be wrong" not in " ".join(said(written))


def test_of_several_methods_the_tiny_ones_are_named(written):
    result = replace(of_parts(images(40, 40)), shared_scale=True, least_scale=0.01)
    maps_image(replace(result, maps={**result.maps, "saliency": 1e-4 * torch.ones(3, 40, 40)}))
    assert "Saliency: Hiding a part hardly changes" in " ".join(said(written))
