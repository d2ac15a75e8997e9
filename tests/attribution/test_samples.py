import torch

from lightning_posttrain.attribution.samples import FixedSamples


def chosen(labels, count, classes, usable=None, batch=3):
    samples = FixedSamples(count, classes)
    labels = torch.tensor(labels)
    inputs = torch.arange(len(labels)).float()[:, None]
    usable = torch.ones(len(labels), dtype=torch.bool) if usable is None else torch.tensor(usable)
    index = torch.arange(len(labels))
    for start in range(0, len(labels), batch):
        rows = slice(start, start + batch)
        samples.offer(inputs[rows], inputs[rows], labels[rows], usable[rows], index[rows])
    samples.close()
    return samples


def test_classes_come_before_repeats_of_a_class():
    samples = chosen([0, 0, 0, 0, 1, 2, 0], 3, 3)
    assert samples.target.tolist() == [0, 1, 2]
    assert samples.index == (0, 4, 5)
    assert samples.inputs[:, 0].tolist() == samples.scores[:, 0].tolist() == [0, 4, 5]


def test_missing_classes_leave_their_room_to_others():
    assert chosen([0, 0, 1, 0], 3, 3).target.tolist() == [0, 0, 1]


def test_fewer_rows_than_wanted_are_all_kept():
    assert len(chosen([1, 0], 8, 2)) == 2


def test_rows_that_may_not_be_used_are_passed_over():
    assert chosen([0, 0, 1, 1], 2, 2, [False, True, False, True]).index == (1, 3)


def test_the_choice_does_not_change_once_it_is_made():
    samples = chosen([0, 1], 2, 2)
    samples.offer(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([0]), torch.tensor([True]))
    assert samples.index == (0, 1)


def test_the_batch_may_be_changed_afterwards():
    samples = FixedSamples(1, 2)
    with torch.inference_mode():
        batch = torch.zeros(1, 2)
        samples.offer(batch, batch, torch.tensor([0]), torch.tensor([True]))
        batch += 5
    assert samples.inputs.tolist() == [[0, 0]]
    assert not samples.inputs.is_inference()
    assert samples.index == (None,)
