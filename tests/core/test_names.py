"""Names that are cut to what tells each from the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.core.drawing.canvas import width_of
from lightning_posttrain.core.drawing.names import in_line, in_lines, short_names, told_apart

CAMERAS = [
    f"motorcycle in a garage ({side} camera), {half} half" for side in ("left", "right") for half in ("upper", "lower")
]


def test_names_that_fit_are_as_they_are():
    assert told_apart(["cat", "dog"], in_line(100, 20)) == {"cat": "cat", "dog": "dog"}


def test_what_differs_in_the_middle_stays():
    found = told_apart(CAMERAS, in_line(190, 16))
    assert len(set(found.values())) == 4
    for name, short in found.items():
        assert all(
            word in short for word in ("left" if "left" in name else "right", "upper" if "upper" in name else "lower")
        )
        assert "… …" not in short


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "bb", "long_word", "ccc,", "(d)"]), min_size=1, max_size=8),
        min_size=1,
        max_size=9,
    ),
    st.integers(30, 200),
)
def test_short_names_fit_and_differ_where_names_do(words, room):
    names = list(dict.fromkeys(" ".join(each) for each in words))
    found = short_names(names, room, 14)
    assert all(width_of(short, 14) <= room for short in found)
    assert len(set(found)) == len(names)


def test_one_word_that_is_too_long_is_cut_and_numbered():
    found = short_names(["x" * 60 + "a", "x" * 60 + "b"], 100, 16)
    assert len(set(found)) == 2
    assert all(width_of(short, 16) <= 100 for short in found)


@pytest.mark.parametrize(
    ("text", "fits"), [("brick wall", True), ("brick wall, upper half", True), ("brick " * 9, False)]
)
def test_two_lines_hold_what_two_lines_hold(text, fits):
    assert in_lines(130, 18, 2)(text) == fits
