import sys

import numpy as np
import pytest
import torch
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from lightning_posttrain.calibration.calibrators.scaling import Identity, TemperatureScaling
from lightning_posttrain.calibration.functional import passes, report, scale
from lightning_posttrain.calibration.functional.cross_fit import cross_fit, log_loss
from lightning_posttrain.calibration.functional.errors import calibration_figures
from lightning_posttrain.calibration.functional.fits import fit
from lightning_posttrain.calibration.functional.scale import ORDERS, derivatives_of_rows
from lightning_posttrain.classification import ScoreRows

EVERY = {"multiclass": ["temperature", "vector"], "binary": ["temperature", "platt", "isotonic"]}
EVERY["multilabel"] = ["temperature", "platt"]
TWO = {task: TemperatureScaling(2.0, task) for task in EVERY}


def drawn(rows=2000, number=5, temperature=1.0, seed=0):
    """Logits of a network whose best temperature is known, and classes drawn from the calibrated probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, number, generator=generator)
    return logits * temperature, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def drawn_labels(rows=2000, number=3, slope=2.0, bias=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    odds = 2 * torch.randn(rows, number, generator=generator)
    target = (torch.rand(rows, number, generator=generator) < odds.sigmoid()).long()
    return slope * odds + bias, target


def data(task, rows=2000, seed=0):
    if task == "multilabel":
        return drawn_labels(rows, seed=seed)
    return drawn(rows, 2 if task == "binary" else 5, 2.0, seed)


def minimised(loss, *start):
    """The parameters with the least loss, by autograd and many steps."""
    parameters = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in start]
    exactly = {"max_iter": 500, "tolerance_grad": 1e-11, "tolerance_change": 0.0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS(parameters, **exactly)

    def closure():
        optimizer.zero_grad()
        value = loss(*parameters)
        value.backward()
        return value

    optimizer.step(closure)
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 20.0])
def test_the_temperature_is_that_of_a_descent_by_autograd(temperature):
    logits, target = drawn(temperature=temperature)
    (expected,) = minimised(lambda log: F.cross_entropy(logits.double() / log.exp(), target), np.log(temperature))
    found = float(fit("temperature", logits, target, "multiclass").temperature)
    assert found == pytest.approx(float(expected.exp()), rel=1e-5)


def test_a_known_temperature_is_recovered():
    logits, target = drawn(20_000, 10, 2.5)
    assert float(fit("temperature", logits, target, "multiclass").temperature) == pytest.approx(2.5, rel=0.02)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 30.0, 1e6])
def test_the_slope_is_zero_or_the_temperature_at_its_bound(scale):
    logits, target = drawn(temperature=scale)
    found = fit("temperature", logits, target, "multiclass")
    temperature = float(found.temperature)
    losses = [log_loss(logits.double() / t, target, "multiclass") for t in temperature * torch.tensor([0.99, 1, 1.01])]
    assert 0.0099 < temperature < 100.1
    if temperature <= 0.01001 or temperature >= 99.99:
        assert "that is tried" in found.describe()
        assert (scale < 0.1) == (temperature < 1)
    else:
        assert losses[1] == min(losses)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_the_temperature_of_margins_is_that_of_a_descent_by_autograd(task):
    logits, target = data(task)
    margin = logits.double()[:, 1:] - logits.double()[:, :1] if task == "binary" else logits.double()
    label = target.reshape(margin.shape).double()
    (expected,) = minimised(lambda log: F.binary_cross_entropy_with_logits(margin / log.exp(), label), 0.5)
    assert float(fit("temperature", logits, target, task).temperature) == pytest.approx(float(expected.exp()), rel=1e-5)


def test_one_logit_a_row_gives_what_two_give():
    logits, target = data("binary")
    margin = logits[:, 1] - logits[:, 0]
    for method in EVERY["binary"]:
        pairs = [fit(method, given, target, "binary") for given in (logits, margin, margin[:, None])]
        for given in pairs[1:]:
            assert torch.allclose(given(margin), pairs[0](margin), atol=1e-4)


def test_vector_scaling_is_that_of_a_descent_by_autograd():
    logits, target = drawn(temperature=2.0)
    logits = logits * torch.tensor([0.5, 1.0, 1.0, 2.0, 1.0]) + torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0])
    scale, bias = minimised(lambda s, b: F.cross_entropy(logits.double() * s + b, target), [1.0] * 5, [0.0] * 5)
    found = fit("vector", logits, target, "multiclass")
    assert torch.allclose(found.scale.double(), scale, atol=2e-3)
    assert torch.allclose(found.bias.double(), bias - bias.mean(), atol=2e-3)
    assert log_loss(found(logits), target, "multiclass") == pytest.approx(
        log_loss(logits * scale + bias, target, "multiclass"), abs=1e-7
    )


@pytest.mark.parametrize("seed", range(4))
def test_platt_scaling_of_a_binary_task_is_scikit_learns(seed):
    logits, target = drawn(300, 2, 3.0, seed)
    margin = (logits[:, 1] - logits[:, 0]).double().numpy()
    slope, bias = _sigmoid_calibration(margin, target.numpy())
    found = fit("platt", logits, target, "binary")
    assert [float(found.slope), float(found.bias)] == pytest.approx([-slope, -bias], abs=1e-4)


def test_platt_scaling_is_near_a_logistic_regression_without_penalty_where_rows_are_many():
    logits, target = drawn(20_000, 2, 3.0)
    margin = (logits[:, 1:] - logits[:, :1]).double().numpy()
    expected = LogisticRegression(C=1e12, tol=1e-10).fit(margin, target.numpy())
    found = fit("platt", logits, target, "binary")
    assert [float(found.slope), float(found.bias)] == pytest.approx(
        [expected.coef_.item(), expected.intercept_.item()], abs=2e-3
    )


@pytest.mark.parametrize(("slope", "bias"), [(2.0, 0.5), (1e-3, 0.0), (1e4, 1e5), (-1.0, 3.0)])
def test_platt_scaling_of_labels_is_scikit_learns_for_each(slope, bias):
    logits, target = drawn_labels(400, 3, slope, bias)
    target[::7, 1] = -1
    found = fit("platt", logits, target, "multilabel")
    for label in range(3):
        counted = target[:, label] >= 0
        margin, outcome = logits[counted, label].double().numpy(), target[counted, label].numpy()
        a, b = _sigmoid_calibration(margin / slope, outcome)
        ours = float(found.slope[label]) * margin + float(found.bias[label])
        np.testing.assert_allclose(ours, -(a * margin / slope + b), atol=2e-3 * (1 + abs(bias / slope)))


def test_a_label_that_is_always_or_never_there_stays_as_it_is():
    logits, target = drawn_labels()
    target[:, 0], target[:, 2] = 0, 1
    found = fit("platt", logits, target, "multilabel")
    assert found.slope[[0, 2]].tolist() == [1, 1]
    assert found.bias[[0, 2]].tolist() == [0, 0]
    assert float(found.slope[1]) == pytest.approx(0.5, abs=0.1)


def test_isotonic_calibration_is_scikit_learns_on_the_margin():
    logits, target = drawn(1500, 2, 2.0)
    margin = logits[:, 1] - logits[:, 0]
    theirs = IsotonicRegression(y_min=2**-23, y_max=1 - 2**-23, out_of_bounds="clip").fit(
        margin.numpy(), target.numpy()
    )
    found = fit("isotonic", margin, target, "binary")
    others = torch.cat([margin, torch.linspace(-30, 30, 999)])
    ours = found(others.double()).sigmoid().numpy()
    np.testing.assert_allclose(ours, theirs.predict(others.double().numpy()), atol=1e-5)
    assert bool((torch.as_tensor(ours[-999:]).diff() >= 0).all())


def test_isotonic_calibration_tells_apart_what_are_all_ones_as_probabilities():
    margin = torch.linspace(30, 60, 400)
    target = (torch.arange(400) >= 200).long()
    found = fit("isotonic", margin, target, "binary")
    assert margin.sigmoid().unique().tolist() == [1.0]
    assert found(torch.tensor([35.0, 55.0])).sigmoid().tolist() == pytest.approx([0, 1], abs=1e-6)


def test_isotonic_calibration_without_scikit_learn_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.isotonic", None)
    with pytest.raises(ImportError, match=r'pip install "lightning-posttrain\[sklearn\]"'):
        fit("isotonic", *drawn(100, 2), "binary")


@pytest.mark.parametrize(
    ("method", "task"), [("vector", "binary"), ("isotonic", "multilabel"), ("platt", "multiclass"), ("beta", "binary")]
)
def test_a_method_that_a_task_does_not_have_is_refused_with_those_that_it_has(method, task):
    words = f"`method` is '{method}', wanted 'temperature'.* for task '{task}'"
    with pytest.raises(ValueError, match=words):
        fit(method, *data(task), task)
    with pytest.raises(ValueError, match=words):
        cross_fit([method], *data(task), task)


@pytest.mark.parametrize(("task", "method"), [(task, method) for task in EVERY for method in EVERY[task]])
def test_classes_ruled_out_beside_finite_logits_are_survived(task, method):
    logits, target = data(task)
    logits[::3, 0] = -torch.inf  # in some of these rows it is the class that came true
    found = fit(method, logits, target, task)
    after = found(logits)
    assert not bool(after.isnan().any())
    assert np.isfinite(log_loss(after, target, task))
    kept = cross_fit([method], logits, target, task)
    assert all(map(np.isfinite, kept.losses.values()))
    untouched = torch.ones(len(logits), dtype=torch.bool)
    untouched[::3] = False
    if task == "binary":
        alone = fit(method, logits[untouched], target[untouched], task)
        assert torch.allclose(alone(logits[untouched]), after[untouched], atol=1e-5)


@pytest.mark.parametrize(("task", "method"), [(task, method) for task in EVERY for method in EVERY[task]])
def test_rows_that_tell_nothing_leave_logits_as_they_are(task, method):
    logits, target = data(task)
    found = fit(method, logits[:0], target[:0], task)
    after = found(logits)
    wanted = logits - logits[:, :1] if task == "binary" and not isinstance(found, Identity) else logits
    assert torch.allclose(after, wanted)


def test_scores_that_are_all_equal_get_temperature_one():
    assert float(fit("temperature", torch.zeros(50, 3), torch.arange(50) % 3, "multiclass").temperature) == 1


@pytest.mark.parametrize("task", list(EVERY))
def test_the_log_loss_is_that_of_the_figures(task):
    logits, target = data(task)
    said = logits.double().sigmoid() if task == "multilabel" else logits.double().softmax(1)
    shape = {task: True} if task != "multiclass" else {}
    figures = calibration_figures(said, target, **shape)
    assert log_loss(logits, target, task) == pytest.approx(figures.log_loss, abs=1e-9)


@pytest.mark.parametrize("task", list(EVERY))
def test_what_helps_is_kept_and_every_row_is_adjusted_by_a_fit_to_the_others(task):
    logits, target = data(task)
    found = cross_fit(EVERY[task], logits, target, task)
    assert found.kept
    assert set(found.losses) == {"none", *EVERY[task]}
    assert found.losses[found.method] == min(found.losses.values()) < found.losses["none"]
    assert found.losses[found.method] == pytest.approx(log_loss(found.held_out, target, task), abs=1e-12)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    left = order % 5 == 2
    again = fit(found.method, logits[~left], target[~left], task)(logits[left].double())
    assert torch.allclose(found.held_out[left], again)
    everything = fit(found.method, logits, target, task)
    assert torch.equal(everything(logits), found.calibrator(logits))
    assert found.reason == ""


def test_of_a_calibrated_network_nothing_is_kept_but_by_chance_and_then_next_to_nothing():
    found = [cross_fit(["temperature"], *drawn(500, 4, seed=seed), "multiclass") for seed in range(60)]
    refused = [each for each in found if not each.kept]
    assert 40 <= len(refused) <= 55  # 48 of these 60 sets; 735 of 900 others
    for each in refused:
        assert each.losses["temperature"] >= each.losses["none"]
        assert "temperature scaling would" in each.reason
        assert each.reason.endswith("not kept")
        assert isinstance(each.calibrator, Identity)
    for each in found:
        if each.kept:
            assert each.losses["none"] - each.losses["temperature"] < 5e-3
            assert float(each.calibrator.temperature) == pytest.approx(1, abs=0.2)


def test_where_none_is_kept_the_logits_are_as_they_were():
    logits = 0.01 * drawn(60, 2)[0]
    target = (torch.rand(60, generator=torch.Generator().manual_seed(1)) < 0.5).long()
    found = cross_fit(["isotonic"], logits, target, "binary")
    assert not found.kept
    assert found.method == "isotonic"
    assert torch.equal(found.held_out, logits.double())
    assert found.reason.startswith("isotonic calibration would make the log loss ")
    assert " instead of " in found.reason


@pytest.mark.parametrize("task", list(EVERY))
@pytest.mark.parametrize("rows", [0, 1, 4, 9, 10, 11, 16])
def test_few_rows_never_raise(task, rows):
    for seed in range(2):
        logits, target = data(task, 16, seed)
        found = cross_fit(EVERY[task], logits[:rows], target[:rows], task)
        assert found.held_out.shape == (rows, logits.shape[1])
        assert found.kept or found.reason
        if rows < 10:
            assert found.method is None
            assert found.reason == f"{rows} rows are too few to fit a calibration to, wanted 10 at least"


def test_rows_of_one_class_are_not_fitted_to():
    for task, target in (("multiclass", torch.zeros(100)), ("binary", torch.ones(100))):
        found = cross_fit(EVERY[task], data(task, 100)[0], target.long(), task)
        assert not found.kept
        assert "too few rows of more than one class" in found.reason


def test_vector_scaling_is_left_out_where_a_class_is_lacking_and_the_others_are_tried():
    logits, target = drawn(500, 5, 3.0)
    target[target == 3] = 0
    found = cross_fit(["temperature", "vector"], logits, target, "multiclass")
    assert set(found.losses) == {"none", "temperature"}
    assert found.reason == "vector scaling is left out, too few rows of class 3"


def test_no_generator_of_others_is_used_and_the_result_is_the_same_each_time():
    before = torch.get_rng_state()
    first, second = (cross_fit(["temperature"], *drawn(temperature=2.0), "multiclass") for _ in range(2))
    assert first.losses == second.losses
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("task", list(EVERY))
def test_a_fit_in_inference_mode_can_be_trained_behind(task):
    with torch.inference_mode():
        logits, target = data(task)
        calibrators = [fit(method, logits, target, task) for method in EVERY[task]]
        calibrators.append(cross_fit(EVERY[task], logits, target, task).calibrator)
    for calibrator in calibrators:
        leaf = logits.clone().requires_grad_()
        calibrator(leaf).square().mean().backward()
        assert bool(leaf.grad.isfinite().all())


def test_the_given_tensors_stay_as_they_are():
    logits, target = drawn()
    kept = logits.clone(), target.clone()
    cross_fit(["temperature", "vector"], logits.double(), target, "multiclass")
    fit("vector", logits, target, "multiclass")
    assert torch.equal(logits, kept[0])
    assert torch.equal(target, kept[1])


def test_a_fit_that_begins_near_ends_where_one_from_afar_does():
    for task in EVERY:
        logits, target = data(task)
        alone = fit("temperature", logits, target, task)
        for start in (0.011, 0.5, float(alone.temperature) * 1.02, 99.0):
            near = fit("temperature", logits, target, task, near=TemperatureScaling(start, task))
            assert float(near.temperature) == pytest.approx(float(alone.temperature), rel=1e-6)


def test_folds_are_fitted_as_if_each_were_alone():
    logits, target = data("multiclass", rows=300)
    found = cross_fit(["temperature"], logits, target, "multiclass")
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)) % 5
    for number in range(5):
        left = order == number
        alone = fit("temperature", logits[~left], target[~left], "multiclass")
        torch.testing.assert_close(found.held_out[left], alone(logits[left].double()), rtol=1e-6, atol=1e-6)


def test_of_very_many_classes_few_rows_are_fitted_to_and_it_is_said(monkeypatch):
    monkeypatch.setattr(report, "MOST", 600)
    monkeypatch.setattr(report, "FITTED", 200)
    logits, target = drawn(100, 20, 3.0)
    rows = ScoreRows(logits, target, 100)
    found = report.cross_fit_rows(["temperature"], rows, "multiclass", 5)
    assert len(found.held_out) == 30
    said = report.report_cross_fitted(report.report_before(rows, "multiclass", bins=15), found, rows, bins=15)
    assert (said.fitted, "fitted to 30 of these rows" in said.notes) == (30, True)


def test_derivatives_by_the_scale_are_those_of_autograd():
    logits, target = drawn(40, 6)
    logits[3, (int(target[3]) + 1) % 6] = -torch.inf  # ruled out
    factor = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    found = derivatives_of_rows(logits, target, 0.7)
    for row in range(0, 40, 3):
        kept = logits[row].isfinite()
        own = int(kept[: int(target[row])].sum())
        value = F.cross_entropy(factor * logits[row, kept].double()[None], torch.tensor([own]))
        for order in range(ORDERS):
            (value,) = torch.autograd.grad(value, factor, create_graph=True)
            assert float(found[order, row]) == pytest.approx(float(value.detach()), rel=1e-7, abs=1e-7)


def test_a_row_whose_own_class_is_ruled_out_has_no_derivative():
    assert derivatives_of_rows(torch.tensor([[-torch.inf, 0.0, 1.0]]), torch.tensor([0]), 1.0).tolist() == [[0.0]] * 6


@pytest.mark.parametrize("wrong", [0, 1, 3])
@pytest.mark.parametrize("start", [0.02, 0.5, 1.0, 30.0])
def test_rows_of_which_hardly_one_is_wrong_have_the_scale_where_the_slope_is_zero_or_the_largest(wrong, start):
    generator = torch.Generator().manual_seed(wrong)
    target = torch.randint(3, (200,), generator=generator)
    said = torch.where(torch.arange(200) < wrong, (target + 1) % 3, target)
    logits = (2 + torch.rand(200, 1, generator=generator).double()) * torch.nn.functional.one_hot(said, 3)
    low, high = 0.01, 100.0
    for _ in range(80):  # halving, by the mean of the slope
        middle = (low * high) ** 0.5
        chance = (middle * logits).softmax(1)
        slope = ((chance * logits).sum(1) - logits.gather(1, target[:, None])[:, 0]).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    assert scale.scale_of_classes(logits, target, start) == pytest.approx(high if wrong else 100, rel=1e-6)


def test_all_folds_follow_from_few_looks_at_the_rows(monkeypatch):
    seen = []
    monkeypatch.setattr(scale, "derivatives_of_rows", lambda *given: seen.append(1) or derivatives_of_rows(*given))
    logits, target = drawn(20_000, 4, 2.0)
    whole = scale.scale_of_classes(logits, target)
    assert len(seen) <= 5
    fold, looks = torch.arange(20_000) % 5, len(seen)
    found = scale.scales_without_each(logits, target, fold, whole)
    assert len(seen) == looks + 1
    for number in range(5):
        alone = scale.scale_of_classes(logits[fold != number], target[fold != number])
        assert found[number] == pytest.approx(alone, rel=2e-8)


@pytest.mark.parametrize("task", list(EVERY))
def test_figures_are_the_same_whatever_the_pieces(monkeypatch, task):
    logits, target = data(task, 500)
    rows = ScoreRows(logits, target, 500)
    found = []
    for most in (1 << 17, 64):
        monkeypatch.setattr(passes, "CACHED", most)
        found.append(report.report_applied(report.report_before(rows, task, bins=15), TWO[task], rows, bins=15))
    for one, other in ((getattr(each, name) for each in found) for name in ("before", "after")):
        assert one.figures() == pytest.approx(other.figures(), rel=1e-12)
        assert torch.equal(one.rows, other.rows)
