import math
import time

import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from lightning_posttrain.calibration.functional.errors import LARGEST_LOSS, calibration_figures
from lightning_posttrain.calibration.result import FIGURES
from lightning_posttrain.classification.metric import probabilities as kept_sums


def classes(rows=600, number=4, seed=0, sure=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = sure * torch.randn(rows, number, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.multinomial((logits / 2).softmax(1), 1, generator=generator)[:, 0]


def labels(rows=400, number=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    said = torch.rand(rows, number, generator=generator, dtype=torch.float64)
    target = (torch.rand(rows, number, generator=generator) < said.sqrt()).long()
    target[torch.rand(rows, number, generator=generator) < 0.2] = -1
    return said, target


def bin_of(p, bins):
    """The first bin whose upper edge is not below."""
    return next((b for b in range(bins) if p <= (b + 1) / bins), bins - 1)


def grouped(said, true, bins):
    groups = {}
    for p, o in zip(said, true, strict=True):
        groups.setdefault(bin_of(p, bins), []).append((p, o))
    return list(groups.values())


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def distance(group):
    return abs(mean(p for p, _ in group) - mean(o for _, o in group))


def slow_ece(said, true, bins):
    return math.fsum(len(group) * distance(group) for group in grouped(said, true, bins)) / len(said)


def slow_ace(said, true, bins):
    ordered = sorted(zip(said, true, strict=True))
    shared = {p: mean(o for q, o in ordered if q == p) for p, _ in ordered}
    ranges = [[] for _ in range(bins)]
    for rank, (p, _) in enumerate(ordered):
        ranges[rank * bins // len(ordered)].append((p, shared[p]))
    return mean(distance(group) for group in ranges if group)


def slow_parts(said, true, bins):
    """Stephenson, Coelho and Jolliffe, 2008, equations 4 to 8, of one event."""
    groups, rows, frequency = grouped(said, true, bins), len(said), mean(true)
    reliability = resolution = variance = covariance = 0.0
    for group in groups:
        p_mean, o_mean = mean(p for p, _ in group), mean(o for _, o in group)
        reliability += len(group) * (p_mean - o_mean) ** 2 / rows
        resolution += len(group) * (o_mean - frequency) ** 2 / rows
        variance += math.fsum((p - p_mean) ** 2 for p, _ in group) / rows
        covariance += 2 * math.fsum((p - p_mean) * (o - o_mean) for p, o in group) / rows
    return [reliability, resolution, frequency * (1 - frequency), variance - covariance]


def parts(figures):
    return [figures.brier_reliability, figures.brier_resolution, figures.brier_uncertainty, figures.brier_within]


def columns(said, target):
    """Of each column the probabilities and outcomes that count."""
    for p, o in zip(said.t().tolist(), target.t().tolist(), strict=True):
        kept = [(a, b) for a, b in zip(p, o, strict=True) if b >= 0]
        yield [a for a, _ in kept], [b for _, b in kept]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_errors_of_the_predicted_class_are_torchmetrics(bins):
    said, target = classes()
    figures = calibration_figures(said, target, bins=bins)
    for norm, value in (("l1", figures.ece), ("max", figures.mce)):
        theirs = multiclass_calibration_error(said, target, 4, n_bins=bins, norm=norm)
        assert value == pytest.approx(float(theirs), abs=2e-6), norm  # theirs is summed in float32


def test_of_a_binary_task_class_one_is_set_against_its_frequency():
    said, target = classes(number=2)
    figures = calibration_figures(said, target, binary=True)
    assert figures.ece == pytest.approx(slow_ece(said[:, 1].tolist(), target.tolist(), 15), abs=1e-12)
    assert figures.ece == pytest.approx(figures.classwise_ece, abs=1e-12)
    assert figures.brier == pytest.approx(sk.brier_score_loss(target, said[:, 1]), abs=1e-12)
    assert figures.log_loss == pytest.approx(sk.log_loss(target, said), abs=1e-12)
    assert figures.rows.sum() == 600
    assert figures.rows[0] > 0  # far below one half, where a predicted class never is


def test_of_a_binary_task_the_errors_are_torchmetrics():
    said, target = classes(number=2)
    figures = calibration_figures(said, target, binary=True)
    theirs = [float(binary_calibration_error(said[:, 1].contiguous(), target, norm=norm)) for norm in ("l1", "max")]
    assert [figures.ece, figures.mce] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("number", [3, 20])
def test_brier_score_and_log_loss_are_scikit_learns(number):
    said, target = classes(number=number)
    figures = calibration_figures(said, target)
    theirs = sum(sk.brier_score_loss(target == k, said[:, k]) for k in range(number))
    assert figures.brier == pytest.approx(theirs, abs=1e-12)
    assert figures.log_loss == pytest.approx(sk.log_loss(target, said, labels=range(number)), abs=1e-12)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_adaptive_error_is_that_of_ranges_in_plain_python(bins):
    said, target = classes(rows=203)
    confidence, predicted = said.max(1)
    expected = slow_ace(confidence.tolist(), (predicted == target).long().tolist(), bins)
    assert calibration_figures(said, target, bins=bins).ace == pytest.approx(expected, abs=1e-12)


def test_the_adaptive_error_of_equal_confidences_does_not_hang_on_the_order_of_rows():
    said = torch.tensor([[0.8, 0.2], [0.6, 0.4]]).double().repeat(50, 1)
    target = (torch.arange(100) % 3 == 0).long()
    expected = slow_ace(said[:, 0].tolist(), (target == 0).long().tolist(), 15)
    for seed in range(5):
        order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
        assert calibration_figures(said[order], target[order]).ace == pytest.approx(expected, abs=1e-12)


def test_the_classwise_error_is_the_mean_of_those_of_the_classes():
    said, target = classes(number=5)
    outcomes = torch.nn.functional.one_hot(target, 5)
    expected = mean(slow_ece(p, o, 15) for p, o in columns(said, outcomes))
    assert calibration_figures(said, target).classwise_ece == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_parts_of_the_brier_score_are_those_of_the_paper_and_sum_to_it(bins):
    said, target = classes(number=5)
    figures = calibration_figures(said, target, bins=bins)
    each = [slow_parts(p, o, bins) for p, o in columns(said, torch.nn.functional.one_hot(target, 5))]
    assert parts(figures) == pytest.approx([math.fsum(part) for part in zip(*each, strict=True)], abs=1e-12)
    reliability, resolution, uncertainty, within = parts(figures)
    assert reliability - resolution + uncertainty + within == pytest.approx(figures.brier, abs=1e-12)


def test_labels_are_pooled_in_the_diagram_and_averaged_elsewhere_without_those_not_counted():
    said, target = labels()
    figures = calibration_figures(said, target, multilabel=True)
    each = list(columns(said, target))
    pooled = [p for column, _ in each for p in column], [o for _, column in each for o in column]
    assert figures.rows.sum() == (target >= 0).sum()
    assert figures.ece == pytest.approx(slow_ece(*pooled, 15), abs=1e-12)
    assert figures.mce == pytest.approx(max(map(distance, grouped(*pooled, 15))), abs=1e-12)
    assert figures.ace == pytest.approx(slow_ace(*pooled, 15), abs=1e-12)
    assert figures.classwise_ece == pytest.approx(mean(slow_ece(p, o, 15) for p, o in each), abs=1e-12)
    assert figures.brier == pytest.approx(mean(sk.brier_score_loss(o, p) for p, o in each), abs=1e-12)
    assert figures.log_loss == pytest.approx(mean(sk.log_loss(o, p) for p, o in each), abs=1e-12)
    reliability, resolution, uncertainty, within = parts(figures)
    assert reliability - resolution + uncertainty + within == pytest.approx(figures.brier, abs=1e-12)


def test_a_label_that_is_nowhere_counted_has_no_say():
    said, target = labels()
    more = torch.cat([said, said[:, :1]], dim=1), torch.cat([target, torch.full_like(target[:, :1], -1)], dim=1)
    figures, others = calibration_figures(said, target, multilabel=True), calibration_figures(*more, multilabel=True)
    assert others.figures() == pytest.approx(figures.figures(), abs=1e-12)


def test_ece_is_zero_when_confidence_equals_accuracy():
    said = torch.tensor([[0.75, 0.25]]).double().expand(100, 2)
    figures = calibration_figures(said, (torch.arange(100) % 4 == 0).long())
    assert [figures.ece, figures.ace, figures.mce, figures.brier_reliability] == pytest.approx([0] * 4, abs=1e-15)


def test_a_probability_on_an_edge_is_in_the_bin_below_and_zero_and_one_in_the_outermost():
    said = torch.tensor([0.0, 0.25, 0.5, 1.0]).double()
    figures = calibration_figures(torch.stack([1 - said, said], 1), torch.ones(4).long(), bins=4, binary=True)
    assert figures.rows.tolist() == [2, 1, 0, 1]
    assert figures.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert figures.accuracy.isnan().tolist() == figures.confidence.isnan().tolist() == [False, False, True, False]


def test_a_certain_and_wrong_row_counts_what_it_counts_in_other_figures():
    said, target = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).double(), torch.tensor([1, 0])
    expected = (LARGEST_LOSS + math.log(2)) / 2
    assert LARGEST_LOSS == kept_sums.LARGEST_LOSS
    assert calibration_figures(said, target).log_loss == pytest.approx(expected, abs=1e-12)
    assert sk.log_loss(target, said) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [{}, {"binary": True}, {"multilabel": True}])
def test_figures_of_no_rows_are_nan_and_the_bins_are_empty(shape):
    target = torch.zeros(0, 2) if "multilabel" in shape else torch.zeros(0)
    figures = calibration_figures(torch.zeros(0, 2), target.long(), **shape)
    assert all(math.isnan(value) for value in figures.figures().values())
    assert list(figures.figures()) == list(FIGURES)
    assert figures.rows.tolist() == [0] * 15


def test_float32_gives_the_figures_of_float64():
    said, target = classes()
    figures, rough = (calibration_figures(values, target).figures() for values in (said, said.float()))
    assert rough == pytest.approx(figures, abs=1e-6)


def test_a_thousand_classes_are_counted_as_fast_as_few_and_as_right():
    said, target = classes(rows=4000, number=1000, sure=4.0)
    began = time.perf_counter()
    figures = calibration_figures(said, target)
    assert time.perf_counter() - began < 5
    place = torch.bucketize(said, torch.linspace(0, 1, 16, dtype=torch.float64)[1:-1])
    outcomes = torch.nn.functional.one_hot(target, 1000).double()
    apart = torch.stack([((said - outcomes) * (place == b)).sum(0).abs() for b in range(15)]).sum(0) / 4000
    assert figures.classwise_ece == pytest.approx(float(apart.mean()), abs=1e-12)


@pytest.mark.parametrize(
    ("said", "target", "options", "words"),
    [
        (torch.randn(9, 3) * 5, torch.zeros(9).long(), {}, "`probabilities` holds .* wanted 0 to 1"),
        (torch.full((9, 3), torch.nan), torch.zeros(9).long(), {}, "`probabilities` holds nan"),
        (torch.rand(9, 3), torch.zeros(9).long(), {"binary": True}, r"shape \(9, 3\), wanted \(N, 2\)"),
        (torch.rand(9, 3), torch.zeros(9).long(), {"multilabel": True}, r"`target` has shape \(9,\), wanted \(9, 3\)"),
        (torch.rand(9), torch.zeros(9).long(), {}, r"shape \(9,\), wanted \(N, C\)"),
        (torch.rand(9, 2), torch.zeros(9).long(), {"binary": True, "multilabel": True}, "both True"),
        (torch.rand(9, 2), torch.zeros(9).long(), {"bins": 0}, "`bins` is 0"),
    ],
)
def test_what_is_no_probability_or_does_not_fit_is_refused(said, target, options, words):
    with pytest.raises(ValueError, match=words):
        calibration_figures(said, target, **options)
