import itertools

import pytest

from lightning_posttrain.tuning import StudyRefused
from lightning_posttrain.tuning.asked import check_same
from lightning_posttrain.tuning.space import described_space, grid_of
from lightning_posttrain.tuning.space_checks import checked_space


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "wanted a mapping with an entry for each parameter"),
        ([("lr", [1])], "wanted a mapping"),
        ({3: [1, 2]}, "has the name 3, wanted text"),
        ({"lr": 0.1}, r"`space\['lr'\]` is 0.1, wanted \(low, high\)"),
        ({"lr": (0.1,)}, "wanted .*with finite numbers"),
        ({"lr": (0.1, 1.0, "ln")}, "wanted .*with finite numbers"),
        ({"lr": (0.1, float("inf"))}, "with finite numbers"),
        ({"lr": (False, True)}, "with finite numbers"),
        ({"lr": (1.0, 0.1)}, "wanted low below high"),
        ({"lr": (1, 1)}, "a list of one choice"),
        ({"lr": (0.0, 1.0, "log")}, "wanted low above 0"),
        ({"lr": (0, 8, "log")}, "wanted low above 0"),
        ({"act": []}, "wanted one choice or more"),
        ({"act": ["relu", "relu"]}, "each once"),
        ({"act": [dict]}, "list names here, and let `build` make the objects"),
        ({"act": [float("nan")]}, "wanted finite numbers"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_in_words(space, words):
    with pytest.raises(StudyRefused, match=words):
        checked_space(space)


def test_choices_of_one_value_and_different_kinds_are_told_apart():
    assert checked_space({"a": [1, True, 1.0, None, "1"]}) == {"a": [1, True, 1.0, None, "1"]}


def test_a_grid_is_the_product_of_its_choices():
    found = grid_of({"a": ["x", "y"], "b": (2, 4), "c": [None, 0.5]})
    wanted = [dict(zip("abc", one, strict=True)) for one in itertools.product(["x", "y"], [2, 3, 4], [None, 0.5])]
    assert found == wanted


@pytest.mark.parametrize("wanted", [(0.1, 1.0), (1, 8, "log")])
def test_a_grid_refuses_a_range_that_has_no_steps(wanted):
    with pytest.raises(StudyRefused, match='wanted a list of choices for `sampler="grid"`'):
        grid_of({"lr": wanted})


def test_each_part_of_a_study_that_differs_is_named():
    before = {
        "monitor": "val_loss",
        "mode": "min",
        "value": "best",
        "space": described_space({"lr": (0.1, 1.0), "a": [1]}),
    }
    now = {**before, "mode": "max", "space": described_space({"lr": (0.1, 2.0, "log"), "b": [2]})}
    with pytest.raises(StudyRefused) as error:
        check_same(before, now, "`folder` 'study'")
    for part in (
        "mode 'min', not 'max'",
        "space a [1], not none",
        "space b none, not [2]",
        "0.1 to 1.0, not 0.1 to 2.0 (log)",
    ):
        assert part in str(error.value)
    check_same(before, before, "`folder` 'study'")
