import itertools
from dataclasses import replace

import torch

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR
from lightning_posttrain.samples.render import tokens as drawing
from lightning_posttrain.samples.render.overview import maps_image
from tests.samples.explained import texts


def said(written):
    return [text for text, _ in written]


def test_words_stand_on_red_where_they_speak_for_and_on_blue_where_against():
    result = texts([["good", "plain", "bad"]], methods=("integrated_gradients",))
    pixels = maps_image(replace(result, maps={"integrated_gradients": torch.tensor([[1.0, 0.0, -1.0]])})).pixels
    red, blue = ((pixels == torch.tensor(color, dtype=torch.uint8)).all(dim=2).nonzero() for color in (FOR, AGAINST))
    assert red[:, 1].max() < blue[:, 1].min()


def test_padding_is_left_out_and_has_no_say_in_the_scale(written):
    result = texts([["a", "", "b"]], methods=("integrated_gradients",))
    maps_image(replace(result, maps={"integrated_gradients": torch.tensor([[1.0, 900.0, -1.0]])}))
    assert "±1" in said(written)
    assert "" not in [word.text for word in drawing.laid_out(["a", "b"])]


def test_words_of_samples_with_different_padding_get_their_own_values(written):
    result = texts([["a", "b"], ["", "c"]], methods=("integrated_gradients",))
    maps_image(replace(result, maps={"integrated_gradients": torch.tensor([[1.0, 1.0], [7.0, 3.0]])}))
    assert {"±1", "±3"} <= set(said(written))


def test_no_word_runs_over_the_edge():
    words = drawing.laid_out(["word"] * 100 + ["x" * 300])
    assert all(word.x + word.width <= drawing.ROOM for word in words)
    assert words[-1].line > words[0].line


def test_words_of_a_line_do_not_overlap():
    words = drawing.laid_out([f"word{i}" for i in range(40)])
    pairs = itertools.pairwise(words)
    assert all(b.x >= a.x + a.width for a, b in pairs if a.line == b.line)


def test_long_texts_end_with_how_many_more_there_are_and_what_they_weigh(written):
    result = texts([["a"] * 400], methods=("integrated_gradients",))
    maps_image(replace(result, maps={"integrated_gradients": torch.ones(1, 400)}))
    assert "… and 200 more, with 50% of the magnitude" in said(written)
    assert said(written).count("a") == 200


def test_a_word_of_blanks_is_seen(written):
    maps_image(texts([["a", "\n"]]))
    assert "␣" in said(written)


def test_without_words_the_token_indices_are_drawn(written):
    maps_image(replace(texts([["a", "b"]]), words=()))
    assert {"0", "1"} <= set(said(written))


def test_letters_are_light_on_strong_colours_and_dark_on_pale_ones():
    result = texts([["M" * 8]], methods=("integrated_gradients",))
    strong = maps_image(replace(result, maps={"integrated_gradients": torch.tensor([[-1.0]])})).pixels
    around = (strong == torch.tensor(AGAINST, dtype=torch.uint8)).all(dim=2).nonzero()
    (top, left), (bottom, right) = around.min(dim=0).values, around.max(dim=0).values
    box = strong[top:bottom, left:right].flatten(0, 1).int()
    assert (box.sum(dim=1) == 3 * 255).any()
    assert (box.sum(dim=1) >= sum(AGAINST) - 3).all()


def test_a_refused_text_gives_the_reason_and_a_text_of_zeros_says_so(written):
    result = texts([["a", "b"], ["c", "d"]], refused={"saliency": {0: "no gradient here"}})
    result.maps["integrated_gradients"][1] = 0
    maps_image(result)
    assert "no gradient here" in said(written)
    assert said(written).count("all zero") == 1


def test_a_text_of_nothing_but_padding_is_drawn():
    assert maps_image(texts([["", ""]])).pixels.shape[1] == 700


def test_without_any_map_the_words_alone_are_drawn(written):
    maps_image(texts([["hello", "world"]], methods=()))
    assert {"hello", "world"} <= set(said(written))
