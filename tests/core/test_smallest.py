"""The smallest keys of all ranks, found digit by digit."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_posttrain.core.stream.smallest import Smallest

LARGEST = (1 << 63) - 1


def kept(ranks, count):
    """What ranks keep of their keys, and how often they told each other something."""
    seek, times = [Smallest(count) for _ in ranks], 0
    while seek[0].seeks(sum(map(len, ranks))):
        total = sum(one.survey(keys, k, len(ranks)) for k, (one, keys) in enumerate(zip(seek, ranks, strict=True)))
        ranks = [keys[one.chosen(keys, total)] for one, keys in zip(seek, ranks, strict=True)]
        times += 1
    return ranks, times


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    spread=st.sampled_from([1, 2, 40, 1 << 20, LARGEST]),
    base=st.sampled_from([0, LARGEST // 3, LARGEST]),
    count=st.integers(1, 30),
)
def test_the_smallest_of_all_ranks_are_kept_and_hardly_more(sizes, spread, base, count):
    generator = torch.Generator().manual_seed(sum(sizes))
    top = min(base, LARGEST - spread)
    ranks = [top + torch.randint(spread, (size,), generator=generator) for size in sizes]
    found, _ = kept(ranks, count)
    wanted = torch.cat(ranks).sort().values[:count]
    assert torch.equal(torch.cat(found).sort().values[:count], wanted)
    assert sum(map(len, found)) <= 1.25 * count


def test_keys_that_are_spread_evenly_are_settled_in_two_sums():
    generator = torch.Generator().manual_seed(0)
    ranks = [torch.randint(LARGEST, (5000,), generator=generator) for _ in range(20)]
    found, times = kept(ranks, 1000)
    assert times <= 2
    assert 1000 <= sum(map(len, found)) <= 1250
