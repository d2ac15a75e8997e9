from dataclasses import replace

import pytest
import torch

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR, STRENGTH
from lightning_posttrain.samples.render import features as drawing
from lightning_posttrain.samples.render.overview import maps_image
from tests.samples.explained import TITLES, rows


def one(values, method="integrated_gradients", **more):
    result = rows(len(values), count=1, methods=(method,), **more)
    return replace(result, maps={method: torch.tensor([values])}, shown=torch.arange(len(values)).float()[None])


def where(image, color):
    return (image.pixels == torch.tensor(color, dtype=torch.uint8)).all(dim=2)


def said(written):
    return [text for text, _ in written]


@pytest.mark.parametrize("count", range(7))
def test_any_number_of_methods_fits_the_sheet(count):
    assert maps_image(rows(methods=tuple(TITLES)[:count])).pixels.shape[1:] == (700, 3)


def test_the_features_with_the_largest_magnitudes_come_first(written):
    maps_image(one([0.1, -3.0, 2.0], names=("age", "income", "height")))
    entries = [text for text in said(written) if " = " in text]
    assert entries == ["income = 1", "height = 2", "age = 0"]


def test_at_most_eight_features_are_drawn_and_the_rest_is_summed(written):
    maps_image(one([1.0] * 10))
    assert sum(" = " in text for text in said(written)) == 8
    assert "and 2 more, with 20% of the magnitude" in said(written)


def test_features_are_chosen_by_the_first_method_with_a_sign_that_is_not_refused():
    methods = ("saliency", "integrated_gradients", "input_x_gradient")
    result = rows(methods=methods, refused={"integrated_gradients": {1: "wrong"}})
    assert [drawing.ranking(result, row) for row in (0, 1)] == ["integrated_gradients", "input_x_gradient"]
    assert drawing.ranking(rows(methods=("saliency",)), 0) == "saliency"
    assert drawing.ranking(rows(methods=()), 0) is None


def test_bars_for_are_red_to_the_right_and_bars_against_blue_to_the_left():
    image = maps_image(one([1.0, -1.0]))
    red, blue = where(image, FOR).nonzero(), where(image, AGAINST).nonzero()
    assert red[:, 1].min() > blue[:, 1].max()
    assert red[:, 0].max() < blue[:, 0].min()


def test_bars_are_as_long_as_their_share_of_the_largest():
    bars = where(maps_image(one([4.0, -1.0])), FOR), where(maps_image(one([4.0, -1.0])), AGAINST)
    long, short = (int(bar.any(dim=0).sum()) for bar in bars)
    assert short == pytest.approx(long / 4, abs=1)


def test_bars_of_a_method_without_sign_are_orange():
    assert where(maps_image(one([1.0, 0.5], "saliency")), STRENGTH).any()


def test_a_shared_scale_goes_over_all_samples_but_refused_ones():
    result = rows(1, count=3, methods=("integrated_gradients",), shared_scale=True)
    values = torch.tensor([[1.0], [2.0], [100.0]])
    result = replace(result, maps={"integrated_gradients": values}, refused={"integrated_gradients": {2: "wrong"}})
    lengths = where(maps_image(result), FOR).sum(dim=1)
    assert lengths.max() == pytest.approx(2 * int(lengths[lengths > 0].min()), abs=3)  # the line at zero


def test_the_numbers_are_written(written):
    maps_image(one([0.1234, -0.00001]))
    assert {"0.12", "-1.0e-5"} <= set(said(written))


def test_very_long_names_are_shortened_in_their_second_line_and_their_values_kept(written):
    maps_image(one([1.0], names=("a name that goes on and on and on and on and on and on " * 2,)))
    (entry,) = [text for text in said(written) if " = " in text]
    assert "…" in entry
    assert entry.endswith(" = 0")


@pytest.mark.parametrize("methods", [1, 2, 3])
@pytest.mark.parametrize(
    "name", ["worst concave points", "mean fractal dimension error", "income_of_last_year_in_euros"]
)
def test_names_of_up_to_28_letters_are_whole_whatever_the_number_of_methods(written, methods, name):
    result = rows(1, count=1, methods=("saliency", "integrated_gradients", "smoothgrad")[:methods], names=(name,))
    maps_image(replace(result, shown=torch.tensor([[-0.0123456]])))
    assert not any("…" in text for text in said(written))
    entries = "".join(text for text, options in written if options.get("anchor") == "lm" and not text.startswith("±"))
    assert name.replace(" ", "") in entries.replace(" ", "")
    assert "= -0.0123" in entries


def test_a_row_of_two_lines_is_higher_and_its_bar_stands_in_its_middle():
    short = maps_image(one([1.0, 1.0], names=("a", "b")))
    long = maps_image(one([1.0, 1.0], names=("a", "the mean of all that was measured in the whole of the year")))
    assert long.pixels.shape[0] - short.pixels.shape[0] == drawing.MORE
    lines = [where(image, FOR).any(dim=1).nonzero() for image in (short, long)]
    assert lines[1].min() == lines[0].min()
    assert lines[1].max() - lines[0].max() == drawing.MORE // 2


def test_bars_of_tiny_probabilities_are_short_and_the_foot_says_why(written):
    result = replace(one([5e-6, -2e-6]), shared_scale=True, least_scale=0.01)
    image = maps_image(result)
    assert not where(image, FOR).any()
    text = " ".join(said(written))
    assert "Hiding a value hardly changes the probability (by at most 5.0e-6): try output='logit'." in text
    assert "of all samples, at least 0.01." in text
    large = maps_image(replace(result, maps={"integrated_gradients": torch.tensor([[0.5, -0.1]])}))
    assert where(large, FOR).any()


def test_more_than_three_methods_go_on_in_a_block_below(written):
    maps_image(rows(2, count=1, methods=tuple(TITLES)[:4]))
    assert sum(" = " in text for text in said(written)) == 2 * 2


def test_a_refused_column_gives_the_reason_and_a_column_of_zeros_says_so(written):
    result = rows(refused={"saliency": {0: "no gradient here"}})
    result.maps["integrated_gradients"][1] = 0
    maps_image(result)
    assert "no gradient here" in " ".join(said(written))
    assert said(written).count("all zero") == 1
