import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.explanations.result.rule import Condition, bound, shortest

FINITE = st.floats(-1e300, 1e300)


def decimals(value):
    """Of the shortest text that is this number, below 0 for whole tens, by trial."""
    return next(k for k in range(-310, 340) if round(value, k) == value)


@given(FINITE, FINITE)
def test_the_shortest_number_tells_the_two_apart(one, other):
    low, high = sorted((one, other))
    if low < high:
        assert low <= shortest(low, high) < high


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_no_number_with_fewer_decimals_is_in_the_middle_half(low, gap):
    high = low + gap
    found = shortest(low, high)
    quarter, step = (high - low) / 4, 10.0 ** -(decimals(found) - 1) if found else math.inf
    assert low + quarter * (1 - 1e-9) <= found <= high - quarter * (1 - 1e-9)
    if step <= 1e6:
        first = math.ceil((low + quarter) / step * (1 + 1e-12)) * step
        assert found == 0 or not low + 1.001 * quarter <= first <= high - 1.001 * quarter


@given(
    st.floats(
        width=32,
        allow_subnormal=False,
        allow_nan=False,
        allow_infinity=False,
        min_value=-(2.0**100),
        max_value=2.0**100,
    )
)
def test_neighbouring_float32_values_are_told_apart(value):
    bits = struct.unpack("<i", struct.pack("<f", value))[0]
    other = struct.unpack("<f", struct.pack("<i", bits + 1))[0]
    low, high = sorted((value, other))
    if low < high:
        assert low <= shortest(low, high) < high


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_ends_that_have_nothing_between_them_raise(low, high):
    with pytest.raises(ValueError, match=f"`low` is {low} and `high` {high}, wanted finite values"):
        shortest(low, high)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Condition(0, "year", high=2019.5), "year ≤ 2019.5"),
        (Condition(0, "zip", 98051.25, 98062.75), "98051.25 < zip ≤ 98062.75"),
        (Condition(0, "id", equal=123456.0), "id = 123456"),
        (Condition(0, "id", equal=123456789012.0), "id = 123456789012"),
        (Condition(0, "size", low=0.10000000149011612), "size > 0.1"),
        (Condition(0, "size", low=1234.56789123), "size > 1234.56789123"),
        (Condition(0, "size", low=1234.5678912345678), "size > 1234.568"),
        (Condition(0, "time", low=1600000000.5), "time > 1600000000.5"),
        (Condition(0, "time", low=1.2345678901234567e13), "time > 12345678901235"),
        (Condition(0, "size", high=0.0001), "size ≤ 0.0001"),
        (Condition(0, "size", high=-0.0), "size ≤ 0"),
        (Condition(0, "size", high=-1500.0), "size ≤ -1500"),
        (Condition(0, "size", high=1e-5), "size ≤ 1e-05"),
        (Condition(0, "size", high=2e38), "size ≤ 2e+38"),
        (Condition(0, "age", high=3.5, missing=True), "age ≤ 3.5 or missing"),
        (Condition(0, "age", low=math.inf, missing=True), "age is missing"),
        (Condition(0, "age", high=math.inf), "age is known"),
        (Condition(0, "'not'"), "'not'"),
    ],
)
def test_a_condition_is_written_with_the_digits_that_it_needs(condition, text):
    assert str(condition) == text


@given(st.integers(-(10**12) + 1, 10**12 - 1), st.integers(0, 3))
def test_a_bound_of_few_digits_is_told_in_full(whole, places):
    value = whole / 10**places
    if value == 0 or abs(value) >= 1e-4:
        assert float(bound(value)) == value
        assert "e" not in bound(value)
