"""The hardest rows, whatever the order, the batches and the ranks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch.nn import functional as F

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.hardness import hardness
from lightning_posttrain.core.stream.top_k import Hardest, thumbnails


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    value = torch.randint(6, (count,), generator=generator).float()  # with ties
    value[torch.rand(count, generator=generator) < 0.2] = -torch.inf
    return (
        value,
        torch.randperm(3 * count, generator=generator)[:count],
        torch.randint(4, (count,), generator=generator),
    )


def slow(value, place, group, count, each):
    """Sorted in full, then from the top."""
    kept, seen = [], {}
    for v, p, g in sorted(
        zip(value.tolist(), place.tolist(), group.tolist(), strict=True), key=lambda r: (-r[0], r[1])
    ):
        if v == -torch.inf or len(kept) == count or (each is not None and seen.get(g, 0) == each):
            continue
        seen[g] = seen.get(g, 0) + 1
        kept.append(p)
    return kept


@settings(max_examples=80)
@given(
    count=st.integers(0, 60),
    seed=st.integers(0, 30),
    size=st.integers(1, 20),
    keep=st.integers(1, 12),
    each=st.sampled_from([None, 1, 2, 5]),
)
def test_any_split_order_and_ranks_keep_what_a_full_sort_has_on_top(count, seed, size, keep, each):
    value, place, group = rows(count, seed)
    ranks = [Hardest(keep, each) for _ in range(2)]
    for number, part in enumerate(torch.randperm(count, generator=torch.Generator().manual_seed(seed)).split(size)):
        ranks[number % 2].offer(value[part], place[part], {"twice": 2 * place[part]}, group[part])
    whole = Hardest(keep, each)
    for found in (rank.take() for rank in ranks):
        if found:
            whole.offer(found["value"], found["place"], {"twice": found["twice"]}, found["group"])
    found = whole.take()
    assert found.get("place", torch.zeros(0)).tolist() == slow(value, place, group, keep, each)
    assert not found or torch.equal(found["twice"], 2 * found["place"])
    assert whole.take() == {}


def test_without_positions_the_first_of_equal_rows_comes_first():
    hardest = Hardest(3)
    for first in (0, 4):
        hardest.offer(torch.tensor([1.0, 2.0, 2.0, 0.0]), None, {"number": torch.arange(first, first + 4)})
    assert hardest.take()["number"].tolist() == [1, 2, 5]


def test_losses_and_confidences_are_those_of_scikit_learn():
    torch.manual_seed(0)
    scores, target = torch.randn(20, 5), torch.randint(5, (20,))
    found = hardness(EvalBatch(scores, target))
    chance = scores.double().softmax(1)
    each = [log_loss([t], [p], labels=range(5)) for t, p in zip(target.tolist(), chance.tolist(), strict=True)]
    assert found.loss.tolist() == pytest.approx(each, rel=1e-5)
    torch.testing.assert_close(found.probability, chance.amax(1), rtol=1e-5, atol=1e-6)
    assert torch.equal(found.wrong, (scores.argmax(1) != target).double())
    assert found.actual[:, 0].tolist() == target.tolist()


def test_labels_have_their_mean_loss_and_the_probability_of_the_surest_wrong_one_or_the_least_sure():
    torch.manual_seed(0)
    scores, target = torch.randn(6, 3), torch.randint(2, (6, 3))
    target[0, 1] = -1
    target[5] = -1
    found = hardness(EvalBatch(scores, target))
    known = target >= 0
    loss = F.binary_cross_entropy_with_logits(scores.double(), target.clamp(min=0).double(), reduction="none")
    mean = torch.where(known, loss, 0).sum(1) / known.sum(1).clamp(min=1)
    torch.testing.assert_close(found.loss, mean, rtol=1e-5, atol=1e-7)
    each = scores.double().sigmoid().maximum(1 - scores.double().sigmoid())
    for row in range(5):
        pairs = zip(each[row].tolist(), (scores[row] > 0).tolist(), target[row].tolist(), strict=True)
        right, wrong = [], []
        for chance, said, label in pairs:
            if label >= 0:
                (right if said == bool(label) else wrong).append(chance)
        assert float(found.probability[row]) == pytest.approx(max(wrong) if wrong else min(right), rel=1e-5)
    assert found.counted.tolist() == [True] * 5 + [False]
    wrong = ((scores > 0).long() != target) & known
    torch.testing.assert_close(found.wrong, wrong.sum(1) / known.sum(1).clamp(min=1).double())


def test_positions_of_an_image_have_their_mean():
    torch.manual_seed(0)
    maps, target = torch.randn(4, 3, 5, 5), torch.randint(3, (4, 5, 5))
    found = hardness(EvalBatch(maps.movedim(1, -1).reshape(-1, 3), target.reshape(-1), samples=4))
    wanted = F.cross_entropy(maps.double(), target, reduction="none").mean((1, 2))
    torch.testing.assert_close(found.loss, wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.wrong, (maps.argmax(1) != target).double().mean((1, 2)))
    assert found.actual.shape == (4, 0)


def test_large_images_are_kept_small_and_small_ones_as_they_are():
    small = torch.rand(2, 1, 128, 90)
    assert thumbnails(small, 1) is small
    large = torch.rand(2, 3, 512, 300)
    torch.testing.assert_close(thumbnails(large, 1), F.avg_pool2d(large, 4))
    assert thumbnails((255 * torch.rand(2, 256, 256)).to(torch.uint8), None).shape == (2, 128, 128)
    assert thumbnails(torch.rand(1, 1, 1, 700), 1).shape[0] == 1


@pytest.mark.parametrize("size", [1, 7, 100])
def test_groups_that_come_often_go_before_others_of_larger_values(size):
    generator = torch.Generator().manual_seed(0)
    often = torch.arange(3).repeat_interleave(20)  # sure of its errors, and so of low loss
    group = torch.cat([often, torch.arange(3, 60)])[torch.randperm(117, generator=generator)]
    value = torch.rand(117, generator=generator) + (group >= 3)
    place = torch.arange(117)
    hardest = Hardest(20, 5, often=True)
    for part in place.split(size):
        hardest.offer(value[part], place[part], {}, group[part])
    found = hardest.take()
    for k in range(3):
        own = (group == k).nonzero()[:, 0]
        best = own[value[own].argsort(descending=True)][:5].tolist()
        assert found["place"][found["group"] == k].tolist() == best
