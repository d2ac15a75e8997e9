import numpy as np
import pytest
import torch
from scipy import stats

from lightning_posttrain.ensembles import PairedMoments, paired_error, paired_interval


def figures(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(rows, 1, generator=generator, dtype=torch.float64).exp()
    return common + 0.3 * torch.randn(rows, 3, generator=generator, dtype=torch.float64) * common


def test_moments_are_those_of_scipys_paired_differences():
    rows = figures(500)
    found = PairedMoments.of(rows, reference=1)
    for column in (0, 2):
        difference = (rows[:, column] - rows[:, 1]).numpy()
        assert float(found.mean[column]) == pytest.approx(difference.mean())
        assert float(found.error[column]) == pytest.approx(stats.sem(difference))
        expected = stats.norm.interval(0.95, difference.mean(), stats.sem(difference))
        assert found.interval()[column].tolist() == pytest.approx(expected)
        assert paired_interval(rows - rows[:, 1, None])[column].tolist() == pytest.approx(expected)
    assert found.interval()[1].tolist() == [0, 0]


def test_moments_of_batches_add_to_those_of_all_rows():
    rows = figures(500)
    whole = PairedMoments.of(rows, 0)
    parts = PairedMoments.of(rows[:100], 0) + PairedMoments.of(rows[100:100], 0) + PairedMoments.of(rows[100:], 0)
    assert torch.allclose(parts.interval(), whole.interval())
    assert parts.rows == 500


def test_few_rows_are_rough_and_rows_that_depend_on_each_other_have_no_interval():
    assert PairedMoments.of(figures(199), 0).rough
    assert not PairedMoments.of(figures(200), 0).rough
    assert PairedMoments.of(figures(300), 0).interval(independent=False) is None
    assert PairedMoments.of(figures(1), 0).interval() is None
    assert bool(PairedMoments.of(figures(1), 0).error.isnan().all())
    assert bool(PairedMoments.of(figures(0), 0).mean.isnan().all())


@pytest.mark.parametrize(("rows", "least"), [(100, 0.90), (400, 0.92), (2000, 0.92)])
def test_intervals_hold_the_true_difference_about_as_often_as_they_say(rows, least):
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(600, rows, generator=generator, dtype=torch.float64) * 2
    hit = torch.rand(600, rows, generator=generator, dtype=torch.float64) < logit.sigmoid()
    sharp, flat = ((torch.where(hit, 1, -1) * logit * scale).sigmoid().log().neg() for scale in (1.6, 1.2))
    sample = torch.randn(2_000_000, generator=generator, dtype=torch.float64) * 2
    expected = [
        -(sample.sigmoid() * (sample * s).sigmoid().log() + (-sample).sigmoid() * (-sample * s).sigmoid().log()).mean()
        for s in (1.6, 1.2)
    ]
    truth = float(expected[0] - expected[1])
    held = [
        low <= truth <= high
        for low, high in (
            PairedMoments.of(torch.stack(pair, dim=1), 1).interval()[0].tolist()
            for pair in zip(sharp, flat, strict=True)
        )
    ]
    assert least <= np.mean(held) <= 0.98


def test_pairs_make_an_interval_narrower_than_two_figures_would():
    rows = figures(1000)
    unpaired = rows.var(dim=0).sum().div(1000).sqrt()
    assert float(PairedMoments.of(rows, 0).error[1]) < 0.5 * float(unpaired)


def test_the_error_of_grouped_rows_is_that_of_sums_by_sample():
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(0, 60, (400,), generator=generator)
    effect = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    difference = effect[groups] + 0.1 * torch.randn(400, 2, generator=generator, dtype=torch.float64)
    sums = np.stack([(difference - difference.mean(0))[groups == g].sum(0) for g in range(60) if (groups == g).any()])
    expected = np.sqrt((sums**2).sum(0) * len(sums) / (len(sums) - 1)) / 400
    assert np.allclose(paired_error(difference, groups), expected)
    assert float(paired_error(difference, groups)[0]) > 1.5 * float(paired_error(difference)[0])
    alone = paired_error(difference, torch.arange(400))
    assert torch.allclose(alone, paired_error(difference))
    assert np.allclose(alone, stats.sem(difference))
