import math

import pytest
import torch
from torch.nn import functional as F

from lightning_posttrain.ensembles import log_probabilities, member_rows, row_of, scores_of
from lightning_posttrain.ensembles.functional.rows import FLOOR, log_softmax, own_log_probability


def test_rows_of_classes_are_softmaxed_logits_in_float64():
    logits = torch.randn(5, 3, 4)
    logp, target = log_probabilities(logits, torch.tensor([0, 1, 2, 3, 0]), "multiclass")
    assert torch.equal(logp, logits.double().log_softmax(2))
    assert target.dtype == torch.int64


def test_rows_that_are_not_counted_are_left_out():
    logits = torch.randn(4, 2, 3)
    target = torch.tensor([2, -100, 0, -1])
    logp, kept = log_probabilities(logits, target, "multiclass")
    assert kept.tolist() == [2, 0]
    assert torch.equal(logp, logits.double().log_softmax(2)[[0, 2]])
    assert row_of(target, "multiclass").tolist() == [0, 2]


@pytest.mark.parametrize("form", ["pair", "single", "column"])
def test_a_binary_score_in_any_form_gives_the_same_rows(form):
    odds = torch.randn(6, 3, dtype=torch.float64)
    scores = {"pair": torch.stack([-odds / 2, odds / 2], 2), "single": odds, "column": odds[..., None]}[form]
    logp, _ = log_probabilities(scores, torch.ones(6), "binary")
    assert torch.allclose(logp.exp()[..., 1], odds.sigmoid())
    assert torch.allclose(logp[..., 1] - logp[..., 0], odds)


def test_each_label_of_a_sample_is_a_row_with_its_own_loss():
    odds = torch.randn(5, 3, 4, dtype=torch.float64)
    target = torch.randint(-1, 2, (5, 4), generator=torch.Generator().manual_seed(0))
    logp, flat = log_probabilities(odds, target, "multilabel")
    sample = row_of(target, "multilabel")
    assert len(logp) == len(flat) == len(sample) == int((target >= 0).sum())
    for member in range(3):
        every = F.binary_cross_entropy_with_logits(odds[:, member], target.double(), reduction="none")
        losses = -own_log_probability(logp[:, member], flat)
        assert torch.allclose(losses, every[target >= 0])
        sums = torch.zeros(5, dtype=torch.float64).index_add_(0, sample, losses)
        assert torch.allclose(sums, (every * (target >= 0)).sum(1))


def test_scores_come_back_from_rows():
    odds = torch.randn(5, 1, 4, dtype=torch.float64)
    assert torch.allclose(scores_of(member_rows(odds, "multilabel")[:, 0], "multilabel", 4), odds[:, 0])
    logits = torch.randn(5, 1, 4)
    back = scores_of(member_rows(logits, "multiclass")[:, 0], "multiclass")
    assert torch.allclose(back.softmax(1), logits[:, 0].double().softmax(1))


def test_no_score_makes_a_figure_infinite_or_nan():
    hard = [
        [math.inf, 0.0],
        [-math.inf, 0.0],
        [math.nan, 0.0],
        [-math.inf, -math.inf],
        [math.inf, math.inf],
        [1e38, -1e38],
    ]
    logits = torch.tensor(hard)[:, None]
    expected = [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1, 0]]
    logp = member_rows(logits, "multiclass")
    assert bool(logp.isfinite().all())
    assert float(logp.min()) >= FLOOR
    assert torch.allclose(logp[:, 0].exp(), torch.tensor(expected, dtype=torch.float64))
    odds = member_rows(torch.tensor([[math.inf], [-math.inf], [math.nan]]), "binary")
    assert torch.allclose(odds[:, 0, 1].exp(), torch.tensor([1, 0, 0.5], dtype=torch.float64))


def test_half_precision_scores_are_read_in_float64():
    logits = torch.tensor([[[60000.0, 0.0]]], dtype=torch.float16)
    assert float(log_softmax(logits.double(), 2)[0, 0, 1]) == FLOOR
    assert member_rows(logits, "multiclass").dtype == torch.float64


@pytest.mark.parametrize(
    ("scores", "target", "task", "said"),
    [
        (
            (4, 3),
            (4,),
            "multiclass",
            r"`scores` has shape \(4, 3\), wanted \(N, K, C\) for task 'multiclass', K members",
        ),
        ((4, 2, 3), (5,), "multiclass", r"`target` has shape \(5,\), wanted \(4,\) for `scores` of shape \(4, 2, 3\)"),
        ((4, 2, 3), (4,), "multilabel", r"`target` has shape \(4,\), wanted \(4, 3\)"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(scores, target, task, said):
    with pytest.raises(ValueError, match=said):
        log_probabilities(torch.zeros(scores), torch.zeros(target), task)


def test_a_class_that_no_member_knows_is_refused():
    with pytest.raises(ValueError, match="`target` has class 3, wanted 0 to 2"):
        log_probabilities(torch.zeros(2, 1, 3), torch.tensor([0, 3]), "multiclass")


def test_rows_that_do_not_fill_samples_are_refused():
    with pytest.raises(ValueError, match="`labels` is 3 for 4 rows"):
        scores_of(torch.zeros(4, 2), "multilabel", 3)
