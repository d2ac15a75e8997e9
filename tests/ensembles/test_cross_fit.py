import numpy as np
import pytest
import torch

from lightning_posttrain.ensembles import STRATEGIES, cross_fit, log_probabilities, row_of
from lightning_posttrain.ensembles.functional import cross_fit as module
from lightning_posttrain.ensembles.functional.choice import choose
from lightning_posttrain.ensembles.functional.cross_fit import sample_of
from lightning_posttrain.ensembles.functional.folds import fold_of
from tests.ensembles.drawn import drawn, loss_of

NAMES = [name for name in STRATEGIES if name != "stacking"]


def test_each_row_is_judged_by_a_fit_to_the_other_folds():
    logp, target = drawn(1500, 4, 3)
    found = cross_fit(list(STRATEGIES), logp, target)
    fold = fold_of(1500, 5)
    assert found.names == tuple(STRATEGIES)
    assert torch.bincount(fold).tolist() == [300] * 5
    for column, name in enumerate(found.names):
        expected = np.zeros(1500)
        for number in range(5):
            out = fold == number
            joint = STRATEGIES[name](logp[~out], target[~out])(logp[out])
            expected[out] = -joint.gather(1, target[out, None])[:, 0]
            assert torch.equal(found.hits[out, column], joint.argmax(1) == target[out])
        assert np.allclose(found.losses[:, column], expected)
        assert found.log_loss[name] == pytest.approx(expected.mean())
        assert torch.equal(found.combinations[name](logp), STRATEGIES[name](logp, target)(logp))


def test_a_row_has_no_say_in_the_fit_that_judges_it():
    logp, target = drawn(200, 4, 3)
    before = cross_fit(NAMES, logp, target)
    changed = target.clone()
    changed[fold_of(200, 5) == 2] = 0
    after = cross_fit(NAMES, logp, changed)
    same = (changed == target) & (fold_of(200, 5) == 2)
    assert int(same.sum()) > 5
    assert torch.equal(before.losses[same], after.losses[same])


def test_rows_of_one_sample_stay_in_one_fold():
    scores = torch.randn(40, 3, 5, generator=torch.Generator().manual_seed(0))
    target = torch.randint(-1, 2, (40, 5), generator=torch.Generator().manual_seed(1))
    logp, flat = log_probabilities(scores, target, "multilabel")
    groups = row_of(target, "multilabel")
    fold = fold_of(len(flat), 5, groups=groups)
    for sample in groups.unique():
        assert len(fold[groups == sample].unique()) == 1
    found = cross_fit(NAMES, logp, flat, groups=groups)
    assert found.losses.shape == (len(flat), len(found.names))
    shuffled = groups * 7 + 3  # names of samples do not matter
    assert torch.equal(cross_fit(NAMES, logp, flat, groups=shuffled).losses, found.losses)


def test_members_that_err_apart_are_worth_an_ensemble():
    logp, target = drawn(2000, 6, 4)
    found = cross_fit(list(STRATEGIES), logp, target)
    assert found.kept
    assert found.chosen != "best"
    gain = found.log_loss["best"] - found.log_loss[found.chosen]
    assert found.reason.startswith(
        ("weights of log-probabilities: log loss", "mean of", "convex", "greedy", "stacking")
    )
    assert f"on 2,000 rows left out, {gain:.3g} (" in found.reason
    assert "below the best checkpoint" in found.reason


def test_members_that_are_alike_are_no_ensemble():
    logp, target = drawn(600, 1, 4)
    scale = 1.5 / float(STRATEGIES["best_temperature"](logp, target).temperature) / 1.5
    alike = (logp * scale).log_softmax(2).expand(600, 4, 4)
    found = cross_fit(NAMES, alike, target)
    assert found.chosen == "best"
    assert not found.kept
    assert found.reason.startswith("no ensemble: the best checkpoint alone; log loss")


def test_a_checkpoint_that_is_too_sure_is_kept_with_a_temperature_alone():
    logp, target = drawn(800, 1, 4, sharp=4.0)
    found = cross_fit(NAMES, logp, target)
    assert found.names == ("best", "best_temperature")
    assert found.chosen == "best_temperature"
    assert found.reason.startswith("no ensemble; best checkpoint, temperature: log loss")
    assert found.left_out["mean"] == "there is one member alone"


def test_the_simplest_within_one_standard_error_is_chosen():
    generator = torch.Generator().manual_seed(0)
    best = torch.rand(500, 1, generator=generator) + 1
    noise = torch.randn(500, 3, generator=generator) * 0.1
    noise = noise - noise.mean(0)
    losses = best + torch.tensor([0.0, -0.3, -0.302]) + noise * torch.tensor([0.0, 1.0, 1.0])
    assert choose(["best", "mean", "convex"], losses.double()).chosen == "mean"
    assert choose(["best", "convex", "mean"], losses.double()).chosen == "convex"
    clear = best + torch.tensor([0.0, -0.3, -0.4]) + noise * torch.tensor([0.0, 1.0, 1.0])
    assert choose(["best", "mean", "convex"], clear.double()).chosen == "convex"


def test_what_gains_less_than_its_error_is_not_kept():
    generator = torch.Generator().manual_seed(0)
    best = torch.ones(400, 1)
    noise = torch.randn(400, 1, generator=generator)
    noise = noise - noise.mean()
    for gain, kept in ((0.02, False), (0.08, True)):  # the standard error is about 0.05
        losses = torch.cat([best, best - gain + noise], dim=1).double()
        assert choose(["best", "mean"], losses).kept == kept


def test_rows_of_one_sample_count_as_one_in_errors():
    generator = torch.Generator().manual_seed(0)
    losses = torch.cat([torch.ones(100, 1), 0.85 + torch.randn(100, 1, generator=generator)], dim=1).double()
    often = losses.repeat_interleave(20, dim=0)
    groups = torch.arange(100).repeat_interleave(20)
    assert choose(["best", "mean"], often, groups).kept == choose(["best", "mean"], losses).kept
    assert choose(["best", "mean"], often).kept


@pytest.mark.parametrize(
    ("rows", "said"),
    [(9, "9 rows are too few to fit to, wanted 10 at least"), (0, "0 rows are too few to fit to, wanted 10 at least")],
)
def test_too_few_rows_leave_the_best_checkpoint_and_plain_means(rows, said):
    logp, target = drawn(30, 3, 3)
    found = cross_fit(list(STRATEGIES), logp[:rows], target[:rows])
    assert found.names == ("best", "mean", "mean_logits")
    assert found.reason == f"no ensemble: the best checkpoint alone; {said}"
    assert set(found.left_out.values()) == {said}
    assert not found.held_out


def test_rows_of_one_class_leave_the_best_checkpoint_and_plain_means():
    logp, target = drawn(300, 3, 3)
    found = cross_fit(list(STRATEGIES), logp, torch.zeros_like(target))
    assert found.names == ("best", "mean", "mean_logits")
    assert found.chosen == "best"
    assert found.reason.endswith("alone; the rows are of one class, to which nothing can be fitted")


def test_stacking_is_left_out_with_a_sentence_where_folds_have_too_few_rows():
    logp, target = drawn(1100, 12, 10)  # of which a fold of five leaves 880
    assert cross_fit(["stacking"], logp, target).left_out == {
        "stacking": "880 rows outside of a fold are too few, wanted 1,000 at least"
    }


def test_the_best_alone_says_that_nothing_else_was_asked_for():
    logp, target = drawn(100, 3, 3)
    assert cross_fit(["best"], logp, target).reason.endswith("alone; no other strategy was asked for")


def test_very_many_rows_are_a_sample_of_whole_groups(monkeypatch):
    monkeypatch.setattr(module, "FITTED", 6000)
    monkeypatch.setattr(module, "FEWEST", 100)
    logp, target = drawn(3000, 3, 4)
    groups = torch.arange(3000) // 3
    found = cross_fit(NAMES, logp, target, groups=groups)
    assert len(found.rows) == 498  # 166 of 1,000 groups, of at most 500 rows
    assert torch.equal(groups[found.rows].unique(return_counts=True)[1], torch.full((len(found.rows) // 3,), 3))
    assert found.losses.shape[0] == len(found.rows)
    best = found.combinations["best"]
    assert found.log_loss["best"] == pytest.approx(loss_of(best(logp[found.rows]), target[found.rows]), abs=0.02)
    assert torch.equal(sample_of(400, 12), torch.arange(400))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategies": ["mean", "vote"]}, "`strategies` is 'vote'"),
        ({"target": torch.zeros(3)}, r"`logp` has shape \(30, 3, 3\) and `target` \(3,\)"),
        ({"logp": torch.zeros(30, 0, 3)}, "of one member at least"),
        ({"groups": torch.zeros(4)}, r"`groups` has shape \(4,\), wanted \(30,\)"),
        ({"folds": 1}, "`folds` is 1, wanted 2 at least"),
    ],
)
def test_what_cannot_be_cross_fitted_is_refused(arguments, said):
    logp, target = drawn(30, 3, 3)
    given = {"strategies": ["mean"], "logp": logp, "target": target, **arguments}
    with pytest.raises(ValueError, match=said):
        cross_fit(given.pop("strategies"), given.pop("logp"), given.pop("target"), **given)
