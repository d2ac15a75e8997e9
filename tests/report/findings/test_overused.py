import numpy as np
import pytest
from scipy.stats import binomtest

NAMES = ["cat", "dog", "owl"]


def matrix(counts, names=NAMES):
    return {"class_names": names, "counts": np.asarray(counts).tolist()}


def test_a_class_that_is_wrongly_said_much_more_often_than_missed_is_named(said):
    found = said(confusion_matrix=matrix([[60, 30, 2], [2, 90, 2], [2, 30, 60]]))["overused"]
    assert '"dog" is said too often: of 278 rows 150 are said to be of it and 94 are.' in found.text
    ends = binomtest(60, 64).proportion_ci(method="exact")
    assert f"(94 %, 95 % interval {100 * ends.low:.0f} to {100 * ends.high:.0f} of these errors" in found.text
    assert "60 times it is said wrongly, 4 times it is missed" in found.text


@pytest.mark.parametrize(
    "counts",
    [
        [[90, 9, 5], [7, 90, 5], [5, 5, 90]],  # as many one way as the other
        [[90, 9, 0], [3, 90, 0], [0, 0, 90]],  # too few errors to tell
        [[9_000, 1_300, 0], [1_000, 9_000, 0], [0, 0, 9_000]],  # sure, and of no weight
    ],
)
def test_a_class_that_is_missed_as_often_is_not_named(said, counts):
    assert "overused" not in said(confusion_matrix=matrix(counts))


def test_it_is_told_of_two_classes_too(said):
    found = said(confusion_matrix=matrix([[60, 40], [2, 98]], NAMES[:2]))["overused"]
    assert found.text.startswith('"dog" is said too often')
