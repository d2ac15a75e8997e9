import pytest
from scipy.stats import binom

from lightning_posttrain.core.statistics.binomial import binomial_tail


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (1, 1), (3, 10), (18, 25), (700, 1000), (11, 10)])
def test_the_tail_is_scipy_s(hits, rows, share):
    assert binomial_tail(hits, rows, share) == pytest.approx(binom.sf(hits - 1, rows, share), rel=1e-9, abs=1e-290)
