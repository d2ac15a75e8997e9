"""What is refused, in which order, and with which words."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta

from lightning_posttrain.export.parity.counts import ParityCounts
from lightning_posttrain.export.parity.decide import Evidence, Gain, decide
from lightning_posttrain.export.parity.tolerance import Tolerance

GOOD = ParityCounts(rows=400, decisions=400, values=4000, total=4e-5, largest=3e-7)
FLOAT, HALF, INT8 = (Tolerance.of(precision, noise=1e-7) for precision in ("float32", "half", "int8"))
FLIP = replace(GOOD, flips=1, flipped_rows=1, margins=np.array([0.3]))
FAR = replace(GOOD, largest=0.002)
ALL_WRONG = Evidence(
    FLIP,
    FLOAT,
    suspicions=("dropout is on in `drop`. Call eval() on it before the export.", "random numbers are drawn"),
    refusals=("batch size 1 fails: Guard failed",),
    metrics={"accuracy": (0.9, 0.5)},
    gain=Gain(2.0, 2.0),
)


def test_an_exported_model_that_gives_the_tested_answers_is_kept():
    metrics = {"accuracy": (0.9, 0.9), "auroc": (math.nan, math.nan), "ece": (0.03, 0.03 + 5e-4)}
    assert decide(Evidence(GOOD, FLOAT, metrics=metrics)) == (True, "it gives the answers that were tested")


def test_reasons_come_in_their_order():
    now, found = ALL_WRONG, [decide(ALL_WRONG).reason]
    for cured in (
        {"suspicions": ()},
        {"refusals": ()},
        {"counts": replace(GOOD, non_finite=2)},
        {"counts": GOOD, "tolerance": replace(FLOAT, noisy=True, noise=0.3)},
        {"counts": replace(FAR, flips=1, margins=np.array([0.3])), "tolerance": FLOAT},
        {"counts": FAR},
        {"counts": GOOD},
        {"metrics": {}},
        {"gain": None},
    ):
        now = replace(now, **cured)
        found.append(decide(now).reason)
    starts = [
        "dropout is on", "batch size 1 fails", "1 of 400 decisions flips", "2 probabilities are not finite",
        "the tested model itself", "1 of 400 decisions flips", "a probability differs", "accuracy is 0.5", "no gain",
        "it gives the answers",
    ]  # fmt: skip
    assert [reason.startswith(start) for reason, start in zip(found, starts, strict=True)] == [True] * 10


def test_a_suspicion_says_what_to_change_and_how_many_more_there_are():
    assert decide(ALL_WRONG).reason == "dropout is on in `drop`. Call eval() on it before the export (and 1 more)"


def test_no_rows_are_no_parity():
    assert decide(Evidence(ParityCounts(), FLOAT)).reason.startswith("no row was compared. Keep rows of validation")


def test_a_difference_above_the_tolerance_names_both_and_the_layer():
    reason = decide(Evidence(FAR, FLOAT, first_apart="`net.4` (Linear), off by 1 % of its largest value")).reason
    assert reason.startswith(
        "a probability differs by 0.002, above 0.0001. The first layer apart is `net.4` (Linear), off by 1 % of its "
        "largest value. Call `eval()` on the module"
    )
    assert decide(Evidence(FAR, HALF)).kept


def test_a_tie_that_flips_is_kept():
    tie = replace(FLIP, margins=np.array([6e-7]))
    assert decide(Evidence(tie, FLOAT)).kept


def test_a_flip_that_is_no_tie_is_refused_in_any_precision():
    for tolerance in (FLOAT, HALF, INT8):
        assert decide(Evidence(FLIP, tolerance)).reason.startswith("1 of 400 decisions flips without being a tie: the")
    two = replace(FLIP, flips=3, margins=np.array([0.3, 0.2, 0.0]))
    assert decide(Evidence(two, FLOAT)).reason.startswith("2 of 400 decisions flip without being ties: the largest")


def test_what_is_not_finite_is_refused_whoever_it_is_of():
    one = decide(Evidence(replace(GOOD, non_finite=1), HALF)).reason
    assert one == "1 probability is not finite, where those of the tested model are. Export in float32"
    both = decide(Evidence(replace(GOOD, non_finite=1, tested_non_finite=3), FLOAT)).reason
    assert both.startswith("3 probabilities of the tested model are not finite. Find the rows")


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [
        ({"accuracy": (0.9, 0.9009)}, True),
        ({"accuracy": (0.9, 0.902)}, False),
        ({"loss": (100.0, 100.09)}, True),
        ({"loss": (100.0, 100.2)}, False),
        ({"auroc": (0.5, math.nan)}, False),
        ({"auroc": (math.nan, 0.5)}, False),
        ({"loss": (math.inf, math.inf)}, True),
    ],
)
def test_a_figure_that_changes_is_refused(metrics, kept):
    verdict = decide(Evidence(GOOD, FLOAT, metrics=metrics))
    assert verdict.kept == kept
    assert "nan" not in verdict.reason


def test_ties_may_change_a_figure_by_as_many_rows():
    tie = replace(FLIP, margins=np.array([1e-7]))
    assert decide(Evidence(tie, FLOAT, metrics={"accuracy": (0.9, 0.9 - 1 / 400)})).kept
    assert not decide(Evidence(GOOD, FLOAT, metrics={"accuracy": (0.9, 0.9 - 1 / 400)})).kept


def quantised(rows, lost, won, **more):
    """Answers of int8, of which some became wrong and some right."""
    flips = lost + won
    counts = ParityCounts(
        rows, rows, flips, flips, rows, 0.1, 0.05, paired_rows=rows, gained=float(won - lost), squares=float(flips),
        margins=np.full(flips, 0.01),
    )  # fmt: skip
    return Evidence(counts, INT8, gain=Gain(0.8, 0.4), **more)


def test_int8_is_kept_where_a_loss_of_one_point_is_excluded():
    assert decide(quantised(397, lost=0, won=1)).kept
    assert decide(quantised(2000, lost=6, won=5)).kept


def test_int8_is_refused_where_a_loss_of_one_point_is_not_excluded():
    reason = decide(quantised(397, lost=8, won=0)).reason
    assert reason.startswith("the share of right decisions changes by -2 points (-")
    assert "a loss of 1 percentage point is not excluded. Compare more rows" in reason
    assert not decide(quantised(60, lost=0, won=0)).kept


@pytest.mark.parametrize(("rows", "flips"), [(299, 0), (298, 0), (1000, 5), (1000, 4), (1000, 3)])
def test_int8_without_targets_is_judged_by_the_bound_of_its_flips(rows, flips):
    counts = ParityCounts(rows, rows, flips, flips, rows, 0.1, 0.05, margins=np.full(flips, 0.01))
    bound = beta.ppf(0.95, flips + 1, rows - flips)
    assert decide(Evidence(counts, INT8)).kept == (bound <= 0.01)


@pytest.mark.parametrize(
    ("latency", "size", "kept"), [(2.5, 0.4, True), (0.5, 1.1, True), (0.96, 0.96, False), (1.5, 1.0, False)]
)
def test_int8_that_is_neither_faster_nor_smaller_is_refused(latency, size, kept):
    verdict = decide(replace(quantised(2000, 0, 0), gain=Gain(latency, size)))
    assert verdict.kept == kept
    assert kept or verdict.reason.startswith(f"no gain: {latency:.2g} times the latency and {size:.2g} times the bytes")
