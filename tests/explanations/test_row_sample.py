"""A random sample of rows, whatever the batches."""

import torch

from lightning_posttrain.explanations.perturbation.row_sample import RowSample


def drawn(seed, most=20, count=200, size=7):
    sample = RowSample(most, seed=seed)
    for batch in torch.arange(count).split(size):
        sample.offer(batch[:, None].float(), batch[:, None] * 2.0, batch)
    return sample.rows()


def test_rows_stay_together_and_none_comes_twice():
    found = drawn(0)
    assert len(found.inputs) == 20
    assert found.seen == 200
    assert torch.equal(found.scores, found.inputs * 2)
    assert torch.equal(found.target.float(), found.inputs[:, 0])
    assert len(set(found.target.tolist())) == 20


def test_each_row_is_as_likely_and_the_order_is_random():
    counts = torch.zeros(200)
    firsts = []
    for seed in range(500):
        target = drawn(seed).target
        counts[target] += 1
        firsts.append(int(target[0]))
    expected = 500 * 20 / 200
    assert abs(float(counts[:100].mean()) - expected) < 2.5
    assert float(((counts - expected) ** 2 / expected).mean()) < 1.4
    assert len(set(firsts)) > 100


def test_memory_is_bounded_while_it_goes_on_and_all_is_kept_where_there_is_room():
    sample = RowSample(most=10, memory=1 << 20)
    for _ in range(50):
        sample.offer(torch.zeros(4, 3))
        assert sum(map(len, sample._keys)) <= 24
    assert len(RowSample(most=500).rows() or []) == 0
    assert len(drawn(0, most=500).inputs) == 200
    small = RowSample(memory=100)
    small.offer(torch.zeros(50, 5))  # 20 bytes each
    assert len(small.rows().inputs) == 5
    wide = RowSample(memory=1000)
    wide.offer(torch.zeros(50, 5), torch.zeros(50, 100))  # 400 bytes of scores each, of which four times as many fit
    assert len(wide.rows().inputs) == 10


def test_rows_of_inference_mode_and_of_another_shape():
    sample = RowSample()
    with torch.inference_mode():
        sample.offer(torch.ones(3, 2))
    sample.offer(torch.ones(3, 9))
    rows = sample.rows()
    assert not rows.inputs.is_inference()
    assert rows.inputs.shape == (3, 2)
    assert rows.scores is None
    state = torch.get_rng_state()
    sample.offer(torch.ones(3, 2))
    assert torch.equal(state, torch.get_rng_state())
