"""Ranks of a gloo group, forked by Lightning in a process of their own."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import seed_everything

from tests import reference, toys
from tests.two_ranks import data

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run = subprocess.run(
        [sys.executable, "-m", "tests.two_ranks", str(folder)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
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
    for other in found[1:]:
        assert other["counts"] == found[0]["counts"]
        assert other["report"] == found[0]["report"]
        assert ours(other["monitored"]) == ours(found[0]["monitored"])
    assert [one["explained"] for one in found] == [True] + [False] * (world - 1)


def test_training_on_two_ranks_comes_out_bit_for_bit_as_without(folder):
    plain, watched = (torch.load(folder / f"weights-{which}.pt", weights_only=True) for which in (False, True))
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
