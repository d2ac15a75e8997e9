import torch

from lightning_posttrain.classification.functional.confusion import add_confusion, most_confused
from lightning_posttrain.classification.result.confusion import Confusion


def test_rows_left_out_change_nothing_whatever_their_target():
    counts = torch.zeros(3, 3, dtype=torch.int64)
    add_confusion(counts, torch.tensor([-100, 7, 1]), torch.tensor([0, 2, 1]), torch.tensor([False, False, True]))
    assert counts.sum() == counts[1, 1] == 1


def test_pairs_come_largest_first_and_equal_ones_by_class():
    counts = torch.tensor([[9, 2, 0], [5, 9, 2], [0, 0, 9]])
    pairs = most_confused(Confusion(counts, ("a", "b", "c")))
    assert [(p.actual, p.predicted, p.count) for p in pairs] == [("b", "a", 5), ("a", "b", 2), ("b", "c", 2)]
    assert pairs[0].share == 5 / 16


def test_a_perfect_matrix_has_no_confused_pair():
    assert most_confused(Confusion(torch.eye(3, dtype=torch.int64), ("a", "b", "c"))) == []
