import numpy as np
import pytest
from scipy.stats import binomtest

NAMES = ["cat", "dog", "owl", "ant"]


def matrix(counts, *, sparse=False):
    counts = np.asarray(counts)
    if not sparse:
        return {"class_names": NAMES, "counts": counts.tolist()}
    cells = [[int(a), int(p), int(counts[a, p])] for a, p in zip(*counts.nonzero(), strict=True)]
    return {"class_names": NAMES, "cells": cells}


def even(wrong):
    """As many errors of each class with each other."""
    return np.full((4, 4), wrong) + np.diag([90 - wrong] * 4)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_pair_that_is_confused_more_often_than_chance_is_named(said, sparse):
    counts = even(3)
    counts[0, 1], counts[0, 0] = 30, 63
    found = said(confusion_matrix=matrix(counts, sparse=sparse))["pairs"]
    assert found.level == "warn"
    assert 'Most confused: "cat" is taken for "dog" 30 of 99 times (30 %, 95 % interval 21 to 40;' in found.text
    assert "the other way round only 3 of 99" in found.text
    share = max(1 / 3, counts[:, 1].sum() / (counts.sum() - counts[:, 0].sum()))
    assert found.numbers["expected"] == pytest.approx(36 * share)
    assert binomtest(30, 36, share, alternative="greater").pvalue < 0.01 / 12


def test_errors_that_know_nothing_of_pairs_name_none(said):
    found = said(confusion_matrix=matrix(even(3)))["pairs"]
    assert found.level == "info"
    assert "No pair of classes stands out among the 36 errors of 396 rows" in found.text


def test_a_class_that_is_said_often_is_no_pair(said):
    counts = even(2)
    counts[1, 1], counts[[0, 2, 3], 1] = 1200, 10
    assert said(confusion_matrix=matrix(counts))["pairs"].level == "info"


def test_a_pair_confused_both_ways_is_not_called_one_way(said):
    counts = even(1)
    counts[0, 1] = counts[1, 0] = 30
    found = said(confusion_matrix=matrix(counts))["pairs"]
    assert "the other way round" not in found.text
    assert 'Also "dog" for "cat" 30 of' in found.text


def test_two_classes_and_no_errors_have_no_pairs(said):
    two = {"class_names": NAMES[:2], "counts": [[50, 30], [1, 60]]}
    assert "pairs" not in said(confusion_matrix=two)
    assert "pairs" not in said(confusion_matrix=matrix(np.diag([50] * 4)))


def test_the_other_pairs_are_counted(said):
    counts = even(0) + np.diag([60] * 4)
    for k in range(4):
        counts[k, (k + 1) % 4] = 20
    assert "; and 1 more" in said(confusion_matrix=matrix(counts))["pairs"].text
