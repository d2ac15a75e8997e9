import math

import numpy as np
import pytest

from lightning_posttrain.export.drift.rows import row_answer, row_confidence


def slow_log_odds(probabilities):
    top = max(probabilities)
    others = list(probabilities)
    others.remove(top)
    return math.log(top / math.fsum(others))


def test_confidence_is_the_log_odds_of_the_top_class():
    said = np.random.default_rng(0).dirichlet(np.ones(7), 50).astype(np.float32)
    assert row_confidence(said, "multiclass") == pytest.approx([slow_log_odds(row) for row in said.tolist()], rel=1e-4)


def test_rows_whose_top_probability_is_rounded_to_one_are_told_apart():
    said = np.array([[1.0, 1e-9], [1.0, 1e-20], [1.0, 0.0]], np.float32)
    assert row_confidence(said, "binary") == pytest.approx([9 * math.log(10), 20 * math.log(10), 30 * math.log(10)])


def test_confidence_of_labels_is_the_mean_distance_from_a_half():
    said = np.array([[0.9, 0.1], [0.5, 0.9]], np.float32)
    assert row_confidence(said, "multilabel") == pytest.approx([math.log(9), math.log(9) / 2], rel=1e-5)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_labels_and_positions_that_are_surely_so_or_not_have_a_finite_confidence(task):
    found = row_confidence(np.array([[0.0, 1.0, 0.0]], np.float32), task)
    assert 0 < found[0] < 70


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_confidence_of_positions_is_the_mean_of_theirs(task):
    said = np.random.default_rng(0).dirichlet(np.ones(3), (5, 2, 4)).astype(np.float32).transpose(0, 3, 1, 2)
    each = [row_confidence(said[:, :, i, j], task) for i in range(2) for j in range(4)]
    assert row_confidence(said, task) == pytest.approx(np.mean(each, axis=0), rel=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_counts_as_least_sure():
    said = np.array([[np.nan, 0.1], [0.5, 0.5]], np.float32)
    assert row_confidence(said, "binary")[0] == pytest.approx(-30 * math.log(10))


def test_probabilities_are_left_as_they_are():
    said = np.array([[0.9, 0.1]], np.float32)
    row_confidence(said, "binary")
    assert said.tolist() == np.array([[0.9, 0.1]], np.float32).tolist()


def test_the_answer_of_a_row_is_the_decision():
    assert row_answer(np.full((3, 2), 0.5), np.array([1, -1, 0], np.int32), "binary").tolist() == [1, -1, 0]


def test_the_answer_of_a_picture_is_what_most_positions_have():
    decision = np.array([[[2, 2], [2, 0]], [[-1, -1], [-1, 1]]])
    assert row_answer(np.full((2, 3, 2, 2), 1 / 3), decision, "multiclass").tolist() == [2, -1]


def test_the_answer_of_labels_is_the_most_probable_that_is_there():
    said = np.array([[0.9, 0.6, 0.7], [0.9, 0.1, 0.2]])
    decision = np.array([[0, 1, 1], [0, 0, 0]])  # the threshold of the first label is above 0.9
    assert row_answer(said, decision, "multilabel").tolist() == [2, -1]


def test_the_answer_of_labels_of_positions_is_the_one_with_the_largest_sum():
    said = np.array([[[0.9, 0.1, 0.1], [0.6, 0.7, 0.1]]])
    assert row_answer(said, said >= 0.5, "multilabel").tolist() == [1]
