"""Figures of the drivers beside slow loops over what they have saved, and SAMME beside the paper and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import AdaBoostClassifier
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain.ensembles import Bagging, Boosting
from lightning_posttrain.ensembles.drivers.figures import compared, each_row
from lightning_posttrain.ensembles.drivers.resampling import bootstrap, weighted
from lightning_posttrain.ensembles.drivers.row_scores import ScoredRows
from lightning_posttrain.ensembles.drivers.samme import effective_share, samme_round
from tests.ensembles import digits
from tests.ensembles.digits import FAST, Net, logits

pytestmark = pytest.mark.slow


def bagged(folder="run", members=4, **options):
    driver = Bagging(build=Net, members=members, progress=False, **options)
    return driver.fit(digits.train(), digits.val(), folder=folder, **{**FAST, "max_epochs": 8})


def slow_out_of_bag(fits, rows):
    """Row by row over saved members."""
    x, y = digits.train().tensors
    found = []
    for row in rows:
        votes = [
            torch.softmax(logits(path, x[row : row + 1])[0], 0).numpy()
            for member, path in enumerate(fits.members)
            if row not in bootstrap(len(x), seed=0, member=member)
        ]
        if votes:
            mean = sum(votes) / len(votes)
            found.append((len(votes), -math.log(mean[y[row]]), mean.argmax() == y[row]))
    return np.array(found)


def test_out_of_bag_figures_equal_a_slow_loop_over_saved_members():
    found = bagged().out_of_bag
    expected = slow_out_of_bag(bagged(), range(300))
    n = len(expected)
    assert (found.rows, found.total, found.members) == (n, 300, 4)
    assert found.votes == pytest.approx(expected[:, 0].mean())
    assert found.log_loss == pytest.approx(expected[:, 1].mean(), rel=1e-5)
    assert found.accuracy == pytest.approx(expected[:, 2].mean())
    half = 1.959964 * expected[:, 1].std(ddof=1) / math.sqrt(n)
    assert found.log_loss_interval == pytest.approx((found.log_loss - half, found.log_loss + half), rel=1e-5)
    hits = expected[:, 2].sum()
    ends = beta.ppf(0.025, hits, n - hits + 1), beta.ppf(0.975, hits + 1, n - hits)
    assert found.accuracy_interval == pytest.approx(ends)
    assert f"accuracy {found.accuracy:.3f}" in found.words
    assert f"of {n:,} of 300 rows, each by the {found.votes:.1f} of 4 members" in found.words
    assert "somewhat pessimistic" in found.words


def test_out_of_bag_figures_of_many_rows_are_of_some_at_random():
    found = bagged("few", judged_rows=50).out_of_bag
    assert found.total == 50
    assert 25 < found.rows <= 50
    assert "Of so few rows, take the intervals as rough." in found.words


class Weighted(ClassifierMixin, BaseEstimator):
    """Says what it was told to, whatever it is fitted on; the next of ``said`` in each round."""

    said = weights = ()
    rounds = 0

    def fit(self, x, y, sample_weight):
        self.classes_ = np.unique(y)
        self.mine = Weighted.said[Weighted.rounds]
        Weighted.rounds += 1
        Weighted.weights.append(sample_weight.copy())
        return self

    def predict(self, x):
        return self.mine


def rounds_of(said, target, classes):
    weights = torch.full((len(target),), 1 / len(target), dtype=torch.float64)
    found = []
    for guess in said:
        done = samme_round(weights, torch.tensor(guess != target), torch.ones(len(target)).bool(), classes)
        found.append((weights, done))
        weights = done.weights
        if done.stop:
            break
    return found


def guesses(rounds=5, rows=400, classes=4, right=0.5):
    generator = np.random.default_rng(0)
    target = generator.integers(classes, size=rows)
    said = [
        np.where(generator.random(rows) < right, target, generator.integers(classes, size=rows)) for _ in range(rounds)
    ]
    return said, target


def test_samme_equals_scikit_learn_on_the_same_guesses():
    said, target = guesses()
    Weighted.said, Weighted.rounds, Weighted.weights = said, 0, []
    theirs = AdaBoostClassifier(Weighted(), n_estimators=5).fit(np.zeros((400, 1)), target)
    ours = rounds_of(said, target, 4)
    assert len(ours) == len(theirs.estimators_) == 5
    for (weights, done), error, alpha, theirs_weights in zip(
        ours, theirs.estimator_errors_, theirs.estimator_weights_, Weighted.weights, strict=True
    ):
        assert done.error == pytest.approx(error)
        assert done.alpha == pytest.approx(alpha)
        np.testing.assert_allclose(weights.numpy(), theirs_weights / theirs_weights.sum(), rtol=1e-10)


def test_samme_equals_the_algorithm_of_the_paper_written_out():
    said, target = guesses()
    weights = [1 / 400] * 400
    for (ours, done), guess in zip(rounds_of(said, target, 4), said, strict=True):
        np.testing.assert_allclose(ours.numpy(), weights, rtol=1e-10)
        error = sum(w for w, g, t in zip(weights, guess, target, strict=True) if g != t) / sum(weights)
        alpha = math.log((1 - error) / error) + math.log(4 - 1)
        weights = [w * math.exp(alpha * (g != t)) for w, g, t in zip(weights, guess, target, strict=True)]
        weights = [w / sum(weights) for w in weights]
        assert (done.error, done.alpha) == pytest.approx((error, alpha))


def test_after_a_round_the_member_is_as_good_as_chance_on_the_new_weights():
    said, target = guesses(rounds=1)
    ((_, done),) = rounds_of(said, target, 4)
    assert float(done.weights[torch.tensor(said[0] != target)].sum()) == pytest.approx(1 - 1 / 4)


def test_samme_ends_where_nothing_is_wrong_and_where_it_is_no_better_than_chance():
    weights, all_rows = torch.full((4,), 0.25, dtype=torch.float64), torch.ones(4).bool()
    perfect = samme_round(weights, torch.zeros(4).bool(), all_rows, 3)
    assert (perfect.error, perfect.alpha) == (0.0, 1.0)
    assert "no row wrong" in perfect.stop
    chance = samme_round(weights, torch.tensor([True, True, False, True]), all_rows, 3)
    assert (chance.error, chance.alpha) == (0.75, 0.0)
    assert "no better than chance" in chance.stop
    unknown = samme_round(weights, all_rows, torch.zeros(4).bool(), 3)
    assert math.isnan(unknown.error)
    assert "no row is left" in unknown.stop
    assert all(torch.equal(each.weights, weights) for each in (perfect, chance, unknown))


def test_the_effective_share_of_rows_is_one_for_equal_weights_and_that_of_the_heavy_ones_else():
    assert effective_share(torch.full((8,), 0.125)) == pytest.approx(1)
    assert effective_share(torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0, 0])) == pytest.approx(0.25)


def boosted(folder, *, draw="once", members=4, build=Net, train=None, epochs=4):
    driver = Boosting(build=build, members=members, draw=draw, progress=False)
    data = digits.train() if train is None else train
    val = labels(1000, 1100) if build is Labels else digits.val()
    return driver.fit(data, val, folder=folder, **{**FAST, "max_epochs": epochs})


@pytest.mark.parametrize("draw", ["once", "each epoch"])
def test_weights_of_members_equal_a_slow_reference_over_saved_members(draw):
    fits = boosted("run", draw=draw)
    x, y = digits.train().tensors
    weights, alphas = np.full(300, 1 / 300), []
    for member, path in enumerate(fits.members):
        wrong = (logits(path, x).argmax(1) != y).numpy()
        judged = np.ones(300, dtype=bool)
        if draw == "once":
            judged[weighted(torch.tensor(weights), seed=0, member=member).numpy()] = False
        error = weights[judged & wrong].sum() / weights[judged].sum()
        alphas.append(math.log((1 - error) / error) + math.log(9))
        assert fits.records[member].notes["error"] == pytest.approx(error)
        weights = weights * np.exp(alphas[-1] * wrong)
        weights = weights / weights.sum()
    assert len(alphas) == 4
    shares = [record.notes["effective_share"] for record in fits.records]
    assert shares[0] == pytest.approx(1)
    assert f"worth {shares[-1]:.0%} of them in the last round" in fits.words
    assert fits.weights == pytest.approx([alpha / sum(alphas) for alpha in alphas])


def test_all_members_are_compared_with_the_first_by_pairs_of_rows():
    fits = boosted("run")
    x, y = digits.val().tensors
    each = torch.stack([logits(path, x).softmax(1) for path in fits.members])
    pooled = torch.einsum("k,knc->nc", torch.tensor(fits.weights, dtype=torch.float64), each)
    losses = [F.nll_loss(p.log(), y, reduction="none").numpy() for p in (each[0], pooled)]
    right = [(p.argmax(1) == y).double().numpy() for p in (each[0], pooled)]
    found = fits.comparison
    assert (found.first_log_loss, found.log_loss) == pytest.approx([loss.mean() for loss in losses], rel=1e-5)
    assert (found.first_accuracy, found.accuracy) == pytest.approx([hits.mean() for hits in right])
    difference = losses[1] - losses[0]
    half = 1.959964 * difference.std(ddof=1) / math.sqrt(len(y))
    assert found.interval == pytest.approx((difference.mean() - half, difference.mean() + half), rel=1e-4)
    assert found.words in fits.words
    assert found.pays == (found.interval[1] < 0 or found.accuracy_interval[0] > 0)
    gain = right[1] - right[0]
    half = 1.959964 * gain.std(ddof=1) / math.sqrt(len(y))
    assert found.accuracy_interval == pytest.approx((gain.mean() - half, gain.mean() + half))


def test_boosting_says_whether_it_pays():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (500,), generator=generator)
    good = F.one_hot(target, 3) * 2.0 + torch.randn(500, 3, generator=generator)
    poor = torch.randn(500, 3, generator=generator)
    scores = [ScoredRows(each.double().log_softmax(1), target) for each in (poor, good)]
    better, worse = compared(scores, [1, 3]), compared(scores[::-1], [1, 3])
    assert better.pays
    assert better.words.startswith("It pays. On 500 validation rows")
    flat = ScoredRows((good * 0.01).double().log_softmax(1), target)
    in_accuracy = compared([ScoredRows((good + poor).double().log_softmax(1), target), flat], [1, 1000])
    assert in_accuracy.pays
    assert in_accuracy.words.startswith("It pays in accuracy alone: fit a temperature")
    assert not worse.pays
    assert worse.words.startswith("It does not pay: take the first member alone, or try Seeds or Bagging.")


def test_boosting_ends_in_round_one_where_a_network_fits_all_its_rows():
    x, y = digits.part(0, 40).tensors

    class Strong(digits.Net):
        def __init__(self):
            super().__init__(units=64)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    fits = boosted("run", draw="each epoch", build=Strong, train=TensorDataset(x, y), epochs=150)
    assert fits.weights == (1.0,)
    assert "after member 0, it has no row wrong that it is judged by" in fits.stopped
    assert fits.stopped in fits.words
    assert "It is its first member alone" in fits.words
    assert (
        len(boosted("run", draw="each epoch", build=Strong, train=TensorDataset(x, y), epochs=150, members=9).members)
        == 1
    )


def test_boosting_keeps_its_first_member_where_that_is_no_better_than_chance():
    class Silent(digits.Net):
        def forward(self, x):
            return super().forward(x) * 0

    fits = boosted("run", build=Silent)
    assert len(fits.members) == 1
    assert "no better than chance" in fits.stopped


def test_boosting_of_one_class_or_of_labels_is_refused():
    x, y = digits.train().tensors
    with (
        pytest.warns(UserWarning, match="failed"),
        pytest.raises(RuntimeError, match=r"of class \[0\], and SAMME needs two"),
    ):
        boosted("run", train=TensorDataset(x, y * 0))
    with (
        pytest.warns(UserWarning, match="failed"),
        pytest.raises(RuntimeError, match="rows of one class each, and these have labels"),
    ):
        boosted("labels", build=Labels, train=labels(0, 200))
    with pytest.raises(ValueError, match="`draw` is 'twice', wanted 'once' or 'each epoch'"):
        Boosting(build=Net, draw="twice")


def test_bagging_of_one_class_says_that_the_figures_say_nothing():
    x, y = digits.train().tensors
    driver = Bagging(build=Net, members=2, progress=False)
    fits = driver.fit(TensorDataset(x, y * 0), digits.val(), folder="run", **FAST)
    assert "All rows that were judged are of one class" in fits.words


def labels(first, last):
    x, y = digits.part(first, last).tensors
    return TensorDataset(x, torch.stack([y % 2, (y > 4).long()], 1))


class Labels(digits.Net):
    """Two labels of a digit: odd, and above four."""

    def __init__(self):
        super().__init__()
        self.net[-1] = nn.Linear(16, 2)

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.training_step(batch, batch_idx))


def test_out_of_bag_figures_of_labels_are_means_over_the_labels_of_a_row():
    driver = Bagging(build=Labels, members=3, progress=False)
    fits = driver.fit(labels(0, 300), labels(1000, 1100), folder="run", **FAST)
    x, y = labels(0, 300).tensors
    losses, right = [], []
    for row in range(300):
        out = [k for k in range(3) if row not in bootstrap(300, seed=0, member=k)]
        if out:
            each = []
            for member in out:
                net = Labels()
                net.load_state_dict(digits.state(fits.members[member]))
                each.append(torch.sigmoid(net.eval()(x[row : row + 1])[0].double()).detach())
            p = torch.stack(each).mean(0)
            losses.append(float(F.binary_cross_entropy(p, y[row].double())))
            right.append(float(((p > 0.5) == y[row].bool()).double().mean()))
    assert fits.out_of_bag.log_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert fits.out_of_bag.accuracy == pytest.approx(np.mean(right))


def test_rows_without_a_target_or_a_number_enter_no_figure():
    nan = float("nan")
    p = torch.tensor([[0.5, 0.5], [nan, nan], [0.25, 0.75], [0.1, 0.9]], dtype=torch.float64)
    found = each_row(p, torch.tensor([0, 1, 1, -1]))
    assert found.loss.tolist() == pytest.approx([math.log(2), -math.log(0.75)])
    assert found.right.tolist() == [1, 1]


def test_members_are_there_where_no_scores_are_found_and_the_reason_is_said():
    fits = bagged(members=2, reading={"scores_fn": lambda outputs, batch: batch[1]})
    assert len(fits.members) == 2
    assert fits.out_of_bag is None
    assert "No out-of-bag figures: " in fits.words
    assert "`reading` of the driver takes what StreamCallback does" in fits.words
