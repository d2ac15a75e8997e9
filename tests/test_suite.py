"""The suite takes every option that more than one of its members takes."""

from collections import Counter

import pytest

from lightning_posttrain import DecisionThresholds, HardExamples, SaliencyMaps, posttrain_suite
from lightning_posttrain.suite import MEMBERS
from tests.public_api import arguments


def member(suite, kind):
    return next(callback for callback in suite if type(callback) is kind)


def test_the_members_are_those_that_it_makes():
    assert tuple(map(type, posttrain_suite())) == MEMBERS


def test_it_takes_every_option_that_more_than_one_member_takes():
    shared = {name for name, times in Counter(n for kind in MEMBERS for n in arguments(kind)).items() if times > 1}
    assert shared <= set(arguments(posttrain_suite))


def test_how_inputs_look_goes_to_the_callbacks_that_show_them():
    suite = posttrain_suite(kind="image", mean=[0.5], std=[0.25], class_names=["cat", "dog"])
    for kind in (HardExamples, SaliencyMaps):
        shown = member(suite, kind)._display
        assert (shown.kind, shown.mean, shown.std) == ("image", [0.5], [0.25])
    assert all(callback.class_names == ("cat", "dog") for callback in suite)


def test_beta_goes_to_both_that_have_an_f_beta():
    suite = posttrain_suite(task="binary", beta=2.0)
    assert suite[0].beta == member(suite, DecisionThresholds).objective.beta == 2.0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"samples": 3}, r"no `samples`; it is SaliencyMaps's own. Pass it there: SaliencyMaps\(samples=3\)"),
        ({"class_name": ["a"]}, "no `class_name`; did you mean `class_names`?"),
        ({"colour": "red"}, "no `colour`; wanted some of bands, beta, class_names"),
    ],
)
def test_an_option_that_it_does_not_take_is_named_with_its_place(option, said):
    with pytest.raises(TypeError, match=said):
        posttrain_suite(**option)
