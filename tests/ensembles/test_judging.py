"""Batches that members score, folded into figures of strategies."""

import pytest
import torch

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.ensembles import fit_strategies, log_probabilities
from lightning_posttrain.ensembles.judging import Judge

ROWS, MEMBERS, CLASSES = 700, 3, 40


def scores_of(task):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(ROWS, MEMBERS, CLASSES, generator=generator)
    shape = (ROWS, CLASSES) if task == "multilabel" else (ROWS,)
    target = torch.randint(2 if task == "multilabel" else CLASSES, shape, generator=generator)
    return scores, target, torch.rand(shape, generator=generator) < 0.9


def judged(task, sizes):
    scores, target, valid = scores_of(task)
    ways = fit_strategies(["best", "mean", "convex_temperature"], *log_probabilities(scores, target, task))
    judge = Judge(
        ClassReading(task), (CLASSES, 0), strategies=ways, members=(MEMBERS, MEMBERS), device=torch.device("cpu")
    )
    parts = zip(scores.split(sizes), target.split(sizes), valid.split(sizes), strict=True)
    for each, marked, real in parts:
        judge.add([EvalBatch(own, marked, real) for own in each.unbind(1)])
    return judge


def states(judge):
    return [state.clone() for metric in judge.metrics for state in metric.states().values()]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_any_batches_give_the_same_sums(task):
    whole = states(judged(task, ROWS))
    for sizes in (64, 7, [1, 0, 699]):
        for one, other in zip(whole, states(judged(task, sizes)), strict=True):
            # ends of intervals are sums of floats, which an order may round otherwise
            torch.testing.assert_close(one, other, rtol=1e-12 if one.is_floating_point() else 0, atol=0)


def test_rows_without_a_mask_may_stand_beside_rows_with_one():
    scores, target, valid = scores_of("multiclass")
    ways = {"best": 0, "last": 2}
    judge = Judge(ClassReading("multiclass"), (CLASSES, 0), strategies=ways, members=(3, 3), device=torch.device("cpu"))
    for rows, mask in ((slice(0, 300), None), (slice(300, ROWS), valid[300:])):
        judge.add([EvalBatch(own[rows], target[rows], mask) for own in scores.unbind(1)])
    counted = torch.cat([torch.ones(300, dtype=torch.bool), valid[300:]])
    figures, _, pairs = judge.results()
    own = scores[:, 2].double().log_softmax(1)[torch.arange(ROWS), target][counted]
    assert figures["last"].log_loss == pytest.approx(-float(own.mean()), abs=1e-6)
    assert pairs.loss.rows == int(counted.sum())


def test_a_batch_is_given_as_a_strategy_scores_it():
    scores, target, _ = scores_of("multiclass")
    ways = fit_strategies(["best", "mean"], *log_probabilities(scores, target, "multiclass"))
    judge = Judge(
        ClassReading("multiclass"),
        (CLASSES, 0),
        strategies=ways,
        members=(MEMBERS, MEMBERS),
        device=torch.device("cpu"),
    )
    index = torch.arange(ROWS)
    given = judge.add([EvalBatch(own, target, index=index) for own in scores.unbind(1)])["mean"]
    assert torch.allclose(given.scores.exp(), scores.double().softmax(2).mean(1).float(), atol=1e-6)
    assert torch.equal(given.index, index)
    assert float(given.disagreement.min()) > 0
