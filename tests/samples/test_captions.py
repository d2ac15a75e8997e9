from dataclasses import replace

import pytest

from lightning_posttrain.core.drawing.canvas import PALE, width_of
from lightning_posttrain.samples.render.captions import caption, headline
from lightning_posttrain.samples.render.sheet import ROOM, WRONG
from lightning_posttrain.samples.result import Sample

SAMPLE = Sample(3, "cat", 0.982, "cat", "cat", 0.982, baseline=0.53, unit="probability")


def said(written):
    return [text for text, _ in written]


def test_a_probability_is_a_sum_in_percent_and_points(written):
    caption(SAMPLE, "on average")
    assert said(written)[1] == "98.2% = 53.0% on average + 45.2 points (SHAP)"


@pytest.mark.parametrize(("value", "base"), [(0.98249, 0.53051), (0.1, 0.90049), (0.5, 0.5), (0.00049, 0.99951)])
def test_the_sum_of_what_is_written_is_right_to_the_last_digit(written, value, base):
    caption(replace(SAMPLE, value=value, baseline=base))
    whole, rest = said(written)[1].split(" = ")
    first, change = rest.split(" with all parts hidden ")
    points = float(change.removesuffix(" points (SHAP)").replace("− ", "-").replace("+ ", ""))
    total, start = (100.0 if text == ">99.9%" else float(text.strip("%")) for text in (whole, first))
    assert total == pytest.approx(start + points, abs=1e-9)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("logit", "logit 3.1 = 4 on average − 0.9 (SHAP)"),
        ("output", "3.1 = 4 on average − 0.9 (SHAP)"),
        ("", "score 3.1 = 4 without the input − 0.9 in the maps"),
    ],
)
def test_other_outputs_are_sums_in_their_own_units_and_maps_of_gradients_speak_of_the_baseline(written, unit, text):
    caption(replace(SAMPLE, value=3.1, baseline=4.0, unit=unit), "on average")
    assert said(written)[1] == text


def test_remarks_are_grey_and_doubts_red_and_both_are_whole(written):
    doubt = "LIME R² 0.05: the linear model does not fit, do not read it, " * 3
    pixels = caption(replace(SAMPLE, remarks=("LIME R² 0.75, another seed within 8%",), doubts=(doubt,)))
    colors = {text: options["color"] for text, options in written}
    assert colors["LIME R² 0.75, another seed within 8%"] == PALE
    red = [text for text, color in colors.items() if color == WRONG]
    assert " ".join(red) == doubt.strip()
    assert len(red) > 1
    assert len(pixels) >= 34 + 26 * (2 + len(red))


def test_long_class_names_take_a_second_line_and_only_very_long_ones_are_cut():
    names = "Bernese mountain dog of the valley", "Greater Swiss mountain dog"
    lines, _ = headline(replace(SAMPLE, predicted=names[0], actual=names[1]))
    assert lines == [f"#3  predicted {names[0]} (98.2%),", f"actual {names[1]}"]
    lines, _ = headline(replace(SAMPLE, predicted="name " * 60, actual="other " * 60))
    assert all(width_of(line) <= ROOM for line in lines)
    assert "(98.2%)," in lines[0]


def test_short_captions_are_one_line():
    assert headline(SAMPLE)[0] == ["#3  predicted cat (98.2%), actual cat"]
