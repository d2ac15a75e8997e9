"""What a classifier said of single rows, in files that a program reads, and two runs paired by them."""

import csv
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch.utils.data import DataLoader, IterableDataset, Subset

from lightning_posttrain import ClassificationMetrics
from lightning_posttrain.classification import kept_predictions
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.pairing import paired_accuracy
from lightning_posttrain.classification.kept_predictions import KeptPredictions
from lightning_posttrain.core.output.kinds import result_of
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.core.statistics.paired import mcnemar, paired_shares
from lightning_posttrain.ensembles import paired_interval
from tests import toys
from tests.classification.test_accumulator import WAITS, Operations


class Alone:
    world_size = 1


def kept(scores, target, sizes, *, index=True, size=None, rows=None, **others):
    """Rows in batches of such sizes."""
    found = KeptPredictions(len(target) if size is None else size, rows)
    place = torch.arange(len(target))
    for s, t, i in zip(scores.split(sizes), target.split(sizes), place.split(sizes), strict=True):
        found.offer(EvalBatch(s, t, index=i if index else None, **others))
    return found.report(tuple(f"c{i}" for i in range(scores.shape[1])), Alone()).found


def rows_of(run, stage="test"):
    with Path(run, "posttrain", stage, "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def random(rows=700, classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        3 * torch.randn(rows, classes, generator=generator),
        torch.randint(classes, (rows,), generator=generator),
    )


@pytest.mark.parametrize("batch", [1, 64, 700, 30_000])
@pytest.mark.parametrize("classes", [2, 7, 300])
def test_each_row_is_as_a_plain_loop_has_it(batch, classes):
    scores, target = random(classes=classes)
    found = kept(scores, target, batch)
    chance = torch.softmax(scores.double(), 1).numpy()
    listing = list(found.listing())
    assert len(listing) == found.rows == found.kept == 700
    best = min(5, classes)
    for place, (index, actual, predicted, probability, loss, *tops) in enumerate(listing):
        own, order = chance[place], np.argsort(-chance[place], kind="stable")[:best]
        assert (index, actual, predicted) == (place, f"c{target[place]}", f"c{own.argmax()}")
        assert probability == pytest.approx(own.max(), rel=1e-5)
        assert loss == pytest.approx(-np.log(own[target[place]]), rel=1e-4, abs=1e-5)
        assert tops[:best] == [f"c{i}" for i in order]
        assert tops[best:] == pytest.approx(own[order].tolist(), rel=1e-4, abs=1e-7)
    right = scores.argmax(1) == target
    assert found.right.equal(right)
    assert found.seen.all()
    assert found.targets_crc32 == zlib.crc32(target.numpy().astype("<i4").tobytes())


@pytest.mark.parametrize("expected", [None, 1000])
def test_of_more_rows_than_are_kept_they_stand_evenly_over_the_epoch(monkeypatch, expected):
    monkeypatch.setattr(kept_predictions, "MOST", 100)
    scores, target = random(1000)
    found = kept(scores, target, 30, rows=expected)
    index = [row[0] for row in found.listing()]
    assert 60 <= len(index) <= 100
    assert index[0] == 0
    assert max(np.diff(index)) <= 2 * min(np.diff(index))
    assert index[-1] >= 980
    assert found.right.equal(scores.argmax(1) == target)
    assert found.notes[0] == f"{len(index)} of 1,000 rows, evenly over the epoch"


def test_rows_that_enter_no_figure_are_left_out():
    scores, target = random(40)
    scores[3], target[5] = torch.nan, 9
    valid = torch.ones(40, dtype=torch.bool)
    valid[7] = False
    found = KeptPredictions(50)
    found.offer(EvalBatch(scores, target, valid=valid, index=torch.arange(40)))
    found = found.report(tuple("abcdefg"), Alone()).found
    assert [row[0] for row in found.listing()] == [i for i in range(40) if i not in (3, 5, 7)]
    assert found.seen.nonzero()[:, 0].tolist() == [i for i in range(40) if i not in (3, 5, 7)]
    assert (found.rows, len(found.seen)) == (37, 50)


def test_of_labels_there_is_what_was_said_of_the_least_sure():
    generator = torch.Generator().manual_seed(0)
    scores, target = torch.randn(60, 3, generator=generator), torch.randint(2, (60, 3), generator=generator)
    found = kept(scores, target, 16)
    chance = scores.double().sigmoid()
    for row, (index, actual, predicted, probability, loss, *tops) in enumerate(found.listing()):
        sure = torch.maximum(chance[row], 1 - chance[row]).min()
        wanted = torch.nn.functional.binary_cross_entropy(chance[row], target[row].double())
        names = [
            ", ".join(f"c{i}" for i in range(3) if there[i]) or "no label" for there in (target[row], scores[row] > 0)
        ]
        assert (index, actual, predicted) == (row, *names)
        assert probability == pytest.approx(float(sure), rel=1e-5)
        assert loss == pytest.approx(float(wanted), rel=1e-5)
        assert tops[3:] == pytest.approx(sorted(chance[row].tolist(), reverse=True), rel=1e-5)
    assert found.right.equal(((scores > 0) == (target == 1)).all(1))
    assert kept(scores, 1 - target, 16).targets_crc32 != found.targets_crc32


def test_of_positions_nothing_is_kept_and_that_is_said():
    found = kept(*random(64), 64, samples=4)
    assert (found.kept, found.right) == (0, None)
    assert found.notes == (
        "no predictions are kept: each sample has several positions, of which no single prediction is kept",
    )


def test_without_positions_rows_stand_in_their_order_and_cannot_be_paired():
    scores, target = random(40)
    found = kept(scores, target, 16, index=False, size=None)
    assert [row[0] for row in found.listing()] == [None] * 40
    assert [row[1] for row in found.listing()] == [f"c{t}" for t in target.tolist()]
    with pytest.raises(ValueError, match="`first` says of no row whether it was right: positions"):
        paired_accuracy(found, found)


def test_a_record_is_read_back_with_its_bits():
    found = kept(*random(701), 64)
    record = found.to_dict()
    again = result_of(record)
    assert again.to_dict() == record
    assert again.right.equal(found.right)
    assert again.seen.equal(found.seen)
    assert len(record["right"]) < 701 / 8 * 4 / 3 + 5
    with pytest.raises(ValueError, match="'size' is 900, but there are bits of 704 samples"):
        result_of({**record, "size": 900})


def test_files_stand_after_a_test_and_after_the_last_validation(tmp_path):
    module, data = toys.Net("dict"), toys.images(37)
    trainer = toys.quiet(ClassificationMetrics(on_error="raise"), max_epochs=2)
    trainer.fit(module, toys.loader(), toys.loader(data))
    module.eval()
    logits = module(data.tensors[0]).detach()
    for stage in ("val", "test"):
        if stage == "test":
            trainer.test(module, toys.loader(data), verbose=False)
        rows = rows_of(tmp_path, stage)
        assert [int(row["index"]) for row in rows] == list(range(37))
        assert [int(row["predicted"]) for row in rows] == logits.argmax(1).tolist()
        assert [int(row["actual"]) for row in rows] == data.tensors[1].tolist()
        record = RunFolder(tmp_path).record(stage, "predictions")
        assert (record["rows"], record["kept"], record["epoch"]) == (37, 37, 1)
        report = RunFolder(tmp_path).record(stage, "classification_report")
        assert float(result_of(record).right.double().mean()) == pytest.approx(report["accuracy"])


def collate(rows):
    return torch.utils.data.default_collate(rows)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*toys.images(20).tensors, strict=True))


@pytest.mark.parametrize(
    ("loader", "index"),
    [
        (DataLoader(Stream(), batch_size=8), [None] * 20),
        (DataLoader(Subset(toys.images(40), range(5, 25)), batch_size=8), list(range(20))),
        (
            DataLoader(toys.images(20), batch_size=8, collate_fn=collate),
            None,
        ),
    ],
    ids=["a stream", "a subset", "a collate_fn of one's own"],
)
def test_positions_are_given_where_they_need_no_proof(tmp_path, loader, index):
    toys.quiet(ClassificationMetrics(on_error="raise")).test(toys.Net("dict"), loader, verbose=False)
    found = [int(row["index"]) if row["index"] else None for row in rows_of(tmp_path)]
    assert found == (index or [None] * 20)


def test_training_is_the_same_bit_for_bit():
    def weights(callbacks):
        torch.manual_seed(0)
        module = toys.Net()
        toys.quiet(callbacks, max_epochs=2).fit(module, toys.loader(shuffle=True), toys.loader())
        return torch.cat([one.flatten() for one in module.state_dict().values()])

    assert weights(ClassificationMetrics(on_error="raise")).equal(weights([]))


@pytest.mark.parametrize("seed", range(4))
def test_a_difference_is_paired_row_by_row(seed):
    generator = np.random.default_rng(seed)
    target = torch.from_numpy(generator.integers(5, size=400))
    first, second = (torch.from_numpy(generator.normal(size=(400, 5))) for _ in range(2))
    first[range(400), target] += 1.2
    second[range(400), target] += 1.6
    found = paired_accuracy(kept(first, target, 64), result_of(kept(second, target, 64).to_dict()))
    right = [(scores.argmax(1) == target).numpy() for scores in (first, second)]
    assert (found.first, found.second, found.rows) == (right[0].mean(), right[1].mean(), 400)
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert found.shares.p == pytest.approx(binomtest(only[1], sum(only)).pvalue, rel=1e-9)
    difference = torch.tensor(right[1].astype(float) - right[0])[:, None]
    assert list(found.shares[1:3]) == pytest.approx(paired_interval(difference)[0].tolist(), rel=1e-9)
    assert found.shares.difference == pytest.approx(found.second - found.first)


@pytest.mark.parametrize(("classes", "batch"), [(10, 64), (1000, 256)])
@pytest.mark.parametrize("multilabel", [False, True])
def test_to_keep_rows_never_waits_for_the_device(classes, batch, multilabel):
    found = KeptPredictions(40 * batch)
    target = torch.zeros(batch, classes) if multilabel else torch.zeros(batch)
    batches = [
        EvalBatch(torch.randn(batch, classes), target.long(), index=torch.arange(i * batch, (i + 1) * batch))
        for i in range(40)
    ]
    with Operations() as operations:
        for one in batches:
            found.offer(one)
    assert operations.seen
    assert not [name for name in operations.seen if any(wait in name for wait in WAITS)]


def test_other_rows_are_not_paired():
    scores, target = random(40)
    one, other = kept(scores, target, 16), kept(scores, target.flip(0), 16)
    with pytest.raises(ValueError, match="their classes are others; wanted the same rows"):
        paired_accuracy(one, other)
    with pytest.raises(ValueError, match="`first` is of 40 samples and `second` of 41"):
        paired_accuracy(one, kept(*random(41), 16))


def test_runs_that_never_differ_have_no_difference():
    assert mcnemar(0, 0) == 1
    assert paired_shares(5, 0, 0, 5) == (0, 0, 0, 1)
    assert np.isnan(paired_shares(0, 0, 0, 0).difference)
    assert np.isnan(paired_shares(1, 0, 0, 0).low)


@pytest.mark.slow
def test_two_ranks_keep_each_row_once(tmp_path):
    toys.ran("tests.classification.predictions_on_two_ranks", str(tmp_path), timeout=240)
    for stage, rows, seed in (("val", 21, 1), ("test", 37, 2)):
        data = toys.images(rows, seed=seed)
        listing = rows_of(tmp_path, stage)
        assert [int(row["index"]) for row in listing] == list(range(rows))
        assert [int(row["actual"]) for row in listing] == data.tensors[1].tolist()
        record = RunFolder(tmp_path).record(stage, "predictions")
        found = result_of(record)
        assert (found.rows, found.kept) == (rows, rows)
        assert found.right.tolist() == [row["actual"] == row["predicted"] for row in listing]
        assert found.targets_crc32 == zlib.crc32(data.tensors[1].numpy().astype("<i4").tobytes())
    run = RunFolder(tmp_path)
    lines = [(line["stage"], line["epoch"]) for line in run.history()]
    assert lines[:4] == [("val", 0), ("train", 0), ("val", 1), ("train", 1)]
    assert [stage for stage, _ in lines[4:]] == ["test"]
    assert {stage: one["rows"] for stage, one in run.run["stages"].items()} == {"val": 21, "fit": 37, "test": 37}
    assert run.run["ranks"] == 2


@pytest.mark.parametrize("labels", [False, True])
def test_what_scores_say_is_the_same_behind_the_epoch_as_in_it(monkeypatch, labels):
    scores, target = random(300)
    target = (scores + torch.randn(300, 7) > 0).long() if labels else target
    behind = kept(scores, target, 64)
    monkeypatch.setattr(kept_predictions, "SCORES", 0)
    within = kept(scores, target, 64)
    assert list(behind.table) == list(within.table)
    for name, column in behind.table.items():
        assert torch.equal(column, within.table[name]), name
