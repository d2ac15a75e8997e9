"""Ranks of a gloo group, forked by Lightning in a process of their own."""

import json
import math
import os
from itertools import chain

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything

from tests import reference, toys
from tests.two_ranks import AT_ONCE, ROWS, data

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run = toys.ran("tests.two_ranks", str(folder), timeout=150)
    (folder / "stderr").write_text(run.stderr)
    return folder


def test_nobody_is_told_to_sum_our_figures_over_ranks(folder):
    said = (folder / "stderr").read_text()
    assert "`self.log('val/loss', ..., sync_dist=True)`" in said  # the user's own
    assert "accuracy" not in said


def ours(monitored):
    """What a monitor sees of our figures; NaN is no figure, and the loss is the user's."""
    return {name: value for name, value in monitored.items() if "loss" not in name and not math.isnan(value)}


@pytest.mark.parametrize(
    ("rows", "stage", "world", "shuffle"),
    [
        (37, "fit", 2, False),
        (37, "validate", 2, True),
        (37, "test", 3, False),
        (3, "test", 2, False),
        (2, "validate", 3, False),
        (9, "validate", 2, None),  # the second rank has no batch
    ],
)
def test_every_rank_has_the_counts_of_a_single_process(folder, rows, stage, world, shuffle):
    found = [
        json.loads((folder / f"{stage}-{rows}-{world}-{shuffle}.rank{rank}.json").read_text()) for rank in range(world)
    ]
    seed_everything(0, verbose=False)
    net = toys.Net()
    if stage == "fit":  # training moved the statistics of batch normalisation, so only the rows are known
        assert sum(map(sum, found[0]["counts"])) == rows
    else:
        actual, predicted = toys.predictions(net, data(rows))
        expected = reference.report(actual, predicted, toys.CLASSES)
        assert found[0]["counts"] == expected["counts"].tolist()
        assert found[0]["calibration"]["rows"] == rows
        x, y = data(rows).tensors
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(net(x), y, reduction="none")
        hardest = [(one["index"], one["loss"]) for one in found[0]["hard"]["groups"]["highest_loss"]]
        wanted = loss.sort(descending=True, stable=True)
        assert [value for _, value in hardest] == pytest.approx(wanted.values[:15].tolist(), rel=1e-4)
        if shuffle is False:
            assert [index for index, _ in hardest] == wanted.indices[:15].tolist()
    for other in found[1:]:
        assert other["counts"] == found[0]["counts"]
        assert other["report"] == found[0]["report"]
        for part in ("hard", "calibration", "thresholds"):
            assert other[part] == found[0][part]
        assert ours(other["monitored"]) == ours(found[0]["monitored"])
    assert [one["explained"] for one in found] == [True] + [False] * (world - 1)


def by_hand(rows):
    """Actual and predicted classes of one process."""
    torch.manual_seed(0)
    return toys.predictions(toys.Net(), data(rows))


def many(folder, world, rank):
    """What a rank found of each loader."""
    parts = [folder / f"from-{first}" / f"many-{world}.rank{rank}.json" for first in range(0, len(ROWS), AT_ONCE)]
    return [one for part in parts for one in json.loads(part.read_text()).values()]


@pytest.mark.parametrize("world", [2, 3])
def test_every_row_counts_once_for_any_number_of_rows(folder, world):
    found = [many(folder, world, rank) for rank in range(world)]
    assert all(other == found[0] for other in found[1:])
    for rows, one in zip(ROWS, found[0], strict=True):
        expected = reference.report(*by_hand(rows), toys.CLASSES)
        assert one["counts"] == expected["counts"].tolist(), rows
        assert one["guest"]["values"]["rows"] == rows
        for name in ("accuracy", "balanced_accuracy", "f1_macro"):
            assert one["report"][name] == pytest.approx(expected[name], abs=1e-12)


def test_figures_of_probabilities_are_those_of_one_process(folder):
    one = many(folder, 3, 1)[-1]
    torch.manual_seed(0)
    net = toys.Net().eval()
    x, y = data(1001).tensors
    with torch.no_grad():
        scores = net(x)
    wanted = {**reference.losses(y.numpy(), scores)}
    wanted["auroc_macro"] = np.mean(reference.areas(np.eye(toys.CLASSES)[y.numpy()], reference.log_odds(scores))[0])
    for name, value in wanted.items():
        assert one["report"][name] == pytest.approx(value, abs=1e-4), name
    assert one["guest"]["values"]["auroc"] == pytest.approx(wanted["auroc_macro"], abs=1e-5)


def test_a_rank_without_a_batch_hangs_no_metric(folder):
    found = [json.loads((folder / "without" / f"many-2.rank{rank}.json").read_text())["val"] for rank in (0, 1)]
    assert found[0] == found[1]
    assert found[0]["guest"]["values"]["rows"] == sum(map(sum, found[0]["counts"])) == 9


def test_training_is_read_from_the_step_and_not_from_a_part_of_it(folder):
    found = [json.loads((folder / f"training.rank{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    for counts in found[0].values():
        assert np.trace(counts) == np.sum(counts) == 21


@pytest.mark.parametrize("size", [1, 4])
def test_batches_that_are_lists_of_samples_lose_their_repeats(folder, size):
    (record,) = (folder / "posttrain" / "val" / f"size{size}").glob("torchmetrics.json")
    assert json.loads(record.read_text())["values"]["SumOfList"] == 41


def test_rows_that_every_rank_reads_are_warned_about(folder):
    found = json.loads((folder / "double" / "many-2.rank0.json").read_text())["val"]
    assert sum(map(sum, found["counts"])) == 18
    said = (folder / "stderr").read_text()
    assert "all ranks read the same rows of val, each of which counts 2 times" in said
    assert "val/dataloader_1," not in said


def test_histories_and_mining_on_two_ranks_are_those_of_one(folder):
    one, *two = (json.loads((folder / f"mined-{rank}.json").read_text()) for rank in ("1.rank0", "2.rank0", "2.rank1"))
    assert two[0]["history"] == two[1]["history"] == one["history"]
    assert two[0]["losses"] == two[1]["losses"] == pytest.approx(one["losses"], rel=1e-4)
    came = [sorted(chain(*(found["came"][epoch] for found in two))) for epoch in (0, 1)]
    assert came == [sorted(one["came"][epoch]) for epoch in (0, 1)]


def test_training_on_two_ranks_comes_out_bit_for_bit_as_without(folder):
    plain, watched = (torch.load(folder / f"weights-{which}.pt", weights_only=True) for which in (False, True))
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_ranks_that_go_on_from_the_end_of_a_validation_have_what_they_would_have_had(folder):
    found = [
        json.loads((folder / f"{name}.rank{rank}.json").read_text()) for name in ("whole", "resumed") for rank in (0, 1)
    ]
    assert found == [found[0]] * 4
    assert [pair["epoch"] for pair in found[0]["gap"]["history"]["accuracy"]] == [0, 1, 2]
    assert [event[0] for event in found[0]["events"]] == [0, 1, 2]
    assert sum(map(sum, found[0]["counts"])) == 40


def test_all_ranks_leave_out_what_the_first_has_no_room_for_and_no_figure_that_can_be_monitored(folder):
    first, second = (json.loads((folder / f"room.rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["left_out"] == 1
    names = {"val/accuracy", "val/f1_macro", "val/calibration/temperature", "val/thresholds/aurc"}
    assert all(names <= set(logged) for logged in first["monitored"])
    assert len(first["monitored"]) == 3
    record = json.loads((folder / "room" / "posttrain" / "val" / "saliency.json").read_text())
    assert record["epoch"] == 2


def test_what_fails_on_one_rank_is_left_out_on_all_and_an_epoch_is_a_few_messages(folder):
    found = [json.loads((folder / f"apart.rank{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1]
    assert found[0]["results"].count(False) == 1
    # what ranks are told, all counts and scores; of predictions how many there are, whether each was right, and rows;
    # whether samples are there to be explained
    predictions = ["all_gather_object", "all_reduce", "all_reduce"]
    assert found[0]["called"] == ["all_gather", "all_reduce", *predictions, "all_reduce"]
