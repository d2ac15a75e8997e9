"""An ensemble on two ranks has the figures that it has on one, and its results are known in the main process."""

import json

import pytest

from tests import toys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks")
    toys.ran("tests.ensembles.two_ranks_of_an_ensemble", str(path), timeout=240)
    return path


def read(path):
    return json.loads(path.read_text())


def near(one, other):
    """Whether both are the same but for the last digits of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return other == pytest.approx(one, rel=1e-6, abs=1e-9) if isinstance(one, float) else one == other


@pytest.mark.parametrize("name", ["validated.json", "tested.json"])
def test_two_ranks_find_what_one_does(folder, name):
    one, two = (read(folder / f"validated-{world}" / name) for world in (1, 2))
    assert near(one, two)


def test_callbacks_behind_it_are_known_in_the_main_process(folder):
    found = read(folder / "validated-2" / "tested.json")
    assert sum(map(sum, found["counts"])) == found["test"]["samples"] == 37


def test_a_fit_with_soups_is_the_same_on_both_ranks_and_at_home(folder):
    ranks = [read(folder / "fitted-2" / f"TrainerFn.TESTING.rank{rank}.json") for rank in (0, 1)]
    assert ranks[0]["test"] == ranks[1]["test"]
    home = read(folder / "fitted-2" / "home.json")
    assert home["test"] == ranks[0]["test"]
    assert home["val"]["held_out"]


def test_what_the_first_rank_cannot_read_ends_both(folder):
    said = read(folder / "refused" / "said.json")
    assert "there is no checkpoint at" in said["nowhere"]
    assert "cannot be read as the fit of an ensemble" in said["broken"]
    assert said["nothing"] == "{}"
