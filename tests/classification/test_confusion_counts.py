import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.metric.confusion import ConfusionCounts


def test_counts_equal_torchmetrics_over_batches():
    ours, theirs = ConfusionCounts(6), MulticlassConfusionMatrix(6)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randn(33, 6, generator=generator)
        target = torch.randint(6, (33,), generator=generator)
        ours.update(EvalBatch(scores, target))
        theirs.update(scores, target)
    torch.testing.assert_close(ours.result().counts, theirs.compute())


def test_rows_with_nan_or_infinite_scores_are_counted_apart():
    inf, nan = float("inf"), float("nan")
    scores = torch.tensor([[1.0, 0.0], [nan, 0.0], [inf, 0.0], [-inf, 0.0], [-inf, -inf]])
    metric = ConfusionCounts(2)
    metric.update(EvalBatch(scores, torch.tensor([0, 0, 0, 1, 1])))
    result = metric.result()
    assert result.counts.tolist() == [[1, 0], [0, 1]]
    assert result.nonfinite == 3
    assert "3 rows left out: their scores are NaN or infinite" in result.notes


def test_rows_whose_target_is_no_class_are_counted_apart():
    metric = ConfusionCounts(2)
    metric.update(EvalBatch(torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 2, -1])))
    assert metric.result().counts.tolist() == [[1, 0], [0, 1]]
    assert metric.result().out_of_range == 2


def test_a_row_is_right_when_all_its_known_labels_are():
    metric = ConfusionCounts(2, multilabel=True)
    scores = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    valid = torch.tensor([[True, False], [True, True], [False, False]])
    metric.update(EvalBatch(scores, torch.tensor([[1, 0], [1, 0], [1, 1]]), valid))
    result = metric.result()
    assert (result.rows, result.exact) == (2, 1)
    assert result.counts.tolist() == [[[0, 0], [0, 2]], [[0, 1], [0, 0]]]
