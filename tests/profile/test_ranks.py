"""A profile of a run on two processes."""

import json
import os

import pytest

from tests import toys

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks")
    toys.ran("tests.profile.two_ranks", str(path), timeout=120)
    return path


@pytest.mark.parametrize("name", ["even", "first"])
def test_all_ranks_know_the_same_and_rows_are_those_of_all(folder, name):
    first, second = (json.loads((folder / f"{name}.rank{rank}.json").read_text())["fit"] for rank in (0, 1))
    assert first == second
    assert first["flops"] == 2 * 6 * 64 * 9 + 2 * 6 * 64 * 4
    assert first["reasons"] == {}
    time = first["time"]
    assert time["reached"]["val/accuracy"]["epoch"] == 0
    rows = {phase: time["rows_a_second"][phase] * time[phase] for phase in ("training", "validation")}
    assert rows == pytest.approx({"training": 40, "validation": 40 if name == "even" else 9})
