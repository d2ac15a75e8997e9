"""Very many classes cost what was seen of them."""

import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.callback.base import distinct
from lightning_posttrain.classification.functional.report import classification_report
from lightning_posttrain.classification.logged_figures import matching
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.classification.rows import RowFacts
from lightning_posttrain.classification.self_check import of_batch, of_results

CLASSES = 100_000


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        made = found if isinstance(found, (tuple, list)) else [found]
        sizes = [each.numel() * each.element_size() for each in made if torch.is_tensor(each) and not each.is_sparse]
        self.bytes = max(self.bytes, *sizes, 0)
        return found


def counted(classes=CLASSES, rows=512, spread=1):
    """A matrix of few of the classes, which are so far apart."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes // spread, (rows,), generator=generator) * spread
    other = torch.randint(classes // spread, (rows,), generator=generator) * spread
    predicted = torch.where(torch.rand(rows, generator=generator) < 0.5, target, other)
    metric = ConfusionCounts(classes)
    metric.add_rows(RowFacts(classes, {"target": target, "predicted": predicted, "top": torch.zeros(rows)}))
    return metric.report(metric.states())


def test_replicates_take_memory_for_classes_that_were_seen():
    with Largest() as largest:
        report = classification_report(counted(), resamples=1000)
        low, high = report.intervals["accuracy"]
    assert low < report["accuracy"] < high
    assert largest.bytes < 50e6  # 1,000 replicates of all classes are 800 MB


def test_intervals_among_many_classes_are_those_of_the_seen_ones_alone():
    few = counted(classes=60, rows=900)
    place, count = few.cells
    size = (CLASSES, CLASSES)
    spread = torch.sparse_coo_tensor(place * 1000, count, size, is_coalesced=True, check_invariants=False)
    many = Confusion(spread, tuple(map(str, range(CLASSES))))
    wanted, found = (classification_report(matrix, resamples=300) for matrix in (few, many))
    for name, ends in wanted.intervals.items():
        assert found.intervals[name] == pytest.approx(ends, rel=1e-12), name
    for name in ("precision", "recall", "f1", "jaccard"):
        ends = found.class_intervals[name]
        torch.testing.assert_close(ends[:, : 60 * 1000 : 1000], wanted.class_intervals[name], equal_nan=True)
        assert int((~ends.isnan()).any(0).sum()) <= 60


def test_files_list_classes_that_have_a_figure_and_say_how_many_have_none():
    report = classification_report(counted(), resamples=100)
    record, seen = report.to_dict(), len(report.listed)
    assert len(record["per_class"]) == len(report.rows()) == seen < 1100
    assert {len(ends[0]) for ends in record["class_intervals"].values()} == {seen}
    assert f"{CLASSES - seen:,} classes that had no row and were never predicted are not listed" in report.notes
    support = {row[0]: row[1] for row in report.rows()}
    assert sum(support.values()) == 512
    few = classification_report(counted(classes=60, rows=20))
    assert len(few.rows()) == 60


def test_figures_of_classes_are_named_only_where_they_are_asked_for(monkeypatch):
    report = classification_report(counted())
    with monkeypatch.context() as patch:
        patch.setattr(ClassificationReport, "scalars", None)
        assert list(matching(["f*_macro", "acc*"], report)) == ["accuracy", "f1_macro"]
    assert len(matching(["per_class/recall/*"], report)) == len(matching(["*recall/*"], report)) == CLASSES
    assert matching(["p?r_class/recall/7"], report).keys() == {"per_class/recall/7"}


def test_the_check_against_a_modules_own_accuracy_counts_no_matrix():
    scores = torch.zeros(64, CLASSES)
    target = torch.arange(64)
    scores[target[:48], target[:48]] = 1.0
    with Largest() as largest:
        ours = of_batch(EvalBatch(scores, target))
    assert ours.accuracies[0] == 48 / 64
    assert largest.bytes <= 2 * 8 * scores.numel()
    assert of_results([counted()], None).accuracies[0] == pytest.approx(classification_report(counted())["accuracy"])


def test_a_hundred_thousand_names_are_looked_through_once():
    begin = time.process_time()
    assert len(distinct(range(CLASSES))) == CLASSES
    assert time.process_time() - begin < 5
    with pytest.raises(ValueError, match="'7' twice"):
        distinct([*range(CLASSES), 7])


def test_a_large_batch_is_measured_once_for_all_who_ask():
    scores = torch.randn(9000, 21)
    batch = EvalBatch(scores, torch.randint(21, (9000,)))
    parts = list(batch.passes({"own", "others", "others_norm", "rank"}))
    assert batch.rows({"own", "others"}) is batch.rows({"rank"})
    torch.testing.assert_close(batch.rows({"own"})["others"], torch.cat([rows["others"] for _, rows in parts]))
    assert torch.equal(batch.predicted, scores.argmax(1))
