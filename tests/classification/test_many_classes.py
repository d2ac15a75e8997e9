import pickle

import pytest
import torch

from lightning_posttrain import ConfusionMatrix
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.confusion import most_confused
from lightning_posttrain.classification.functional.report import classification_report
from lightning_posttrain.classification.metric import confusion
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.classification.rows import RowFacts


def facts(classes, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (rows,), generator=generator)
    other = torch.randint(classes, (rows,), generator=generator)
    predicted = torch.where(torch.rand(rows, generator=generator) < 0.7, target, other)
    target[:5] = classes + 3
    return RowFacts(classes, {"target": target, "predicted": predicted, "top": torch.zeros(rows)})


def both(monkeypatch, rows, classes=30):
    """A dense and a sparse count of the same rows."""
    dense = ConfusionCounts(classes)
    monkeypatch.setattr(confusion, "DENSE_CLASSES", 10)
    sparse = ConfusionCounts(classes)
    for metric in (dense, sparse):
        for seed in range(4):
            metric.add_rows(facts(classes, rows, seed))
    return dense.report(dense.states()), sparse.report(sparse.states())


@pytest.mark.parametrize("loose", [1 << 20, 100])
def test_sparse_counts_are_the_dense_ones(monkeypatch, loose):
    monkeypatch.setattr(confusion, "LOOSE_ROWS", loose)
    dense, sparse = both(monkeypatch, 200)
    assert sparse.counts.is_sparse
    assert torch.equal(sparse.counts.to_dense(), dense.counts)
    assert sparse.out_of_range == dense.out_of_range == 20
    assert most_confused(sparse, 5) == most_confused(dense, 5)
    assert classification_report(sparse).to_dict() == classification_report(dense).to_dict()
    assert torch.equal(sparse.of([3, 7]).counts, dense.of([3, 7]).counts)


def test_a_hundred_thousand_classes_take_memory_for_what_was_seen():
    metric = ConfusionCounts(100_000)
    for seed in range(10):
        metric.add_rows(facts(100_000, 2000, seed))
    assert sum(state.numel() * state.element_size() for state in metric.states().values()) < 400_000
    result = metric.report(metric.states())
    assert int(result.cells[1].sum()) == 10 * 1995
    report = classification_report(result)
    place, count = result.cells
    assert report["accuracy"] == pytest.approx(int(count[place[0] == place[1]].sum()) / 19_950)


def test_states_of_ranks_side_by_side_are_those_of_one(monkeypatch):
    monkeypatch.setattr(confusion, "DENSE_CLASSES", 10)
    whole, ranks = ConfusionCounts(30), [ConfusionCounts(30), ConfusionCounts(30)]
    for seed in range(4):
        whole.add_rows(facts(30, 50, seed))
        ranks[seed % 2].add_rows(facts(30, 50, seed))
    padded = [torch.cat([rank.states()["cells"], torch.zeros(3, 2, dtype=torch.int64)]) for rank in ranks]
    states = {**whole.states(), "cells": torch.cat(padded)}
    assert torch.equal(whole.report(states).counts.to_dense(), whole.report(whole.states()).counts.to_dense())


def test_it_resets_pickles_and_takes_an_empty_batch(monkeypatch):
    monkeypatch.setattr(confusion, "DENSE_CLASSES", 2)
    metric = ConfusionCounts(3)
    assert metric.report(metric.states()).counts.to_dense().sum() == 0
    metric.update(EvalBatch(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)))
    metric.update(EvalBatch(torch.eye(3), torch.arange(3)))
    assert pickle.loads(pickle.dumps(metric)).result().counts.to_dense().sum() == 3
    metric.reset()
    assert metric.report(metric.states()).counts.to_dense().sum() == 0


def test_files_and_pictures_of_many_classes_are_small():
    dense = facts(3000, 5000)
    metric = ConfusionCounts(3000)
    metric.add_rows(dense)
    result = metric.report(metric.states())
    shown = {(tagged.tag, type(tagged.artifact).__name__) for tagged in ConfusionMatrix().show(result, "val")}
    assert shown == {("most_confused_classes", "Image"), ("confused_pairs", "Table"), ("confusion_matrix", "Table")}
    assert len(str(result.to_dict())) < 200_000


def test_a_part_of_a_matrix_keeps_the_shares_of_the_whole():
    whole = Confusion(torch.tensor([[5, 1, 4], [3, 9, 0], [0, 0, 4]]), ("cat", "dog", "owl"))
    part = whole.of([0, 1])
    assert part.normalized.tolist() == [[0.5, 0.1], [0.25, 0.75]]
    assert part.class_names == ("cat", "dog")
