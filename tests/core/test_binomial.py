import pytest
from scipy.stats import beta, binom

from lightning_posttrain.core.statistics.binomial import binomial_tail, upper_bound


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (1, 1), (3, 10), (18, 25), (700, 1000), (11, 10)])
def test_the_tail_is_scipy_s(hits, rows, share):
    assert binomial_tail(hits, rows, share) == pytest.approx(binom.sf(hits - 1, rows, share), rel=1e-9, abs=1e-290)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999999])
@pytest.mark.parametrize(("errors", "rows"), [(0, 1), (0, 10**6), (3, 7), (4, 5), (999_999, 10**6), (2.5, 9.5)])
def test_the_upper_bound_is_a_quantile_of_scipy_s_beta_distribution(errors, rows, level):
    wanted = max(beta.ppf(level, errors + 1, rows - errors), errors / rows)
    assert upper_bound(errors, rows, level=level) == pytest.approx(wanted, rel=1e-9)
