"""What stands in a report, and that every figure in its sentences is one of its fields."""

import copy
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.metrics import accuracy_score

from lightning_posttrain.core.statistics.latency import Latency
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.parity.apart import first_apart_in_program
from lightning_posttrain.export.parity.batches import check_batches
from lightning_posttrain.export.parity.change import Change
from lightning_posttrain.export.parity.decide import Evidence, decide
from lightning_posttrain.export.parity.sums import ParitySums
from lightning_posttrain.export.parity.tolerance import Tolerance, eager_noise
from lightning_posttrain.export.result import ExportReport, FormatParity, Timed
from lightning_posttrain.export.words import figure, rounded_up
from tests.export.parity.nets import Convolutional, made, runner, traced


def timed(eager=1e-4, exported=2e-5, calls=200):
    return {
        size: Timed(Latency.of([eager * size] * calls, 1), Latency.of([exported * size] * calls, 1)) for size in (1, 64)
    }


ONNX = FormatParity(
    "onnx", ("model.onnx",), True, "it gives the answers that were tested", "float32", "test", 397, 397, 0, 0, 3e-7,
    2e-8, 1e-4, 1e-7, Change(0.0, -0.005, 0.005), (30, 0, 367), None,
    {"accuracy": (0.95, 0.95), "auroc": (math.nan,) * 2}, timed(), 50_000,
)  # fmt: skip
INT8 = replace(
    ONNX, name="int8", files=("model.int8.onnx",), precision="int8", flips=1, flipped_rows=1, largest=0.052,
    tolerance=math.inf, change=Change(0.0025, -0.0061, 0.0112),
)  # fmt: skip
REFUSED = replace(
    ONNX, name="pt2", files=("model.pt2",), kept=False, reason="a probability differs by 0.27, above 0.0001"
)
WEIGHTS = FormatParity(
    "safetensors", ("weights.safetensors",), True, "its weights are those that were tested", bytes=21
)
REPORT = ExportReport(
    "export", "best, epoch 7", (ONNX, INT8, REFUSED, WEIGHTS), "the most probable class",
    {"x": {"low": -1.0, "high": 1.0}}, ("the temperature is not inside",), ("rows are of validation",),
)  # fmt: skip


def test_the_sentence_of_a_format_is_the_one_of_the_manual():
    assert ONNX.words == (
        "model.onnx gives the answers that were tested: 0 of 397 labels flip, so below 0.8 %; probabilities differ by "
        "3e-7 at most"
    )


def test_int8_says_what_it_costs():
    assert INT8.words == (
        "model.int8.onnx is kept: 1 of 397 labels flips, so below 1.2 %; the share of right ones changes by +0.25 "
        "points (-0.61 to +1.1); probabilities differ by 0.052 at most"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rows": 1, "decisions": 1}, "0 of 1 label flip, so below 95 %"),
        ({"decisions": 1191}, "0 of 1,191 labels of 397 rows flip, so below 0.8 % of rows have one"),
        ({"flips": 1, "flipped_rows": 1}, "1 of 397 labels flips, so below 1.2 %"),
        ({"largest": 0.0}, "; probabilities are equal"),
        ({"against": "the model in bf16"}, "that were tested, compared with the model in bf16: 0 of"),
        ({"files": ("model.onnx", "model.onnx.data")}, "model.onnx and model.onnx.data give the answers"),
    ],
)
def test_sentences_agree_in_number(changed, said):
    assert said in replace(ONNX, **changed).words


def test_a_format_that_does_not_run_says_that_it_is_kept():
    assert WEIGHTS.words == "weights.safetensors is kept: its weights are those that were tested"


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_bound_is_exact_and_what_is_said_is_never_below_it(rows, share):
    flips = int(share * rows)
    parity = replace(ONNX, rows=rows, decisions=rows, flips=flips, flipped_rows=flips)
    wanted = beta.ppf(0.95, flips + 1, rows - flips) if flips < rows else 1.0
    assert parity.flips_bound == pytest.approx(wanted, rel=1e-6)
    said = float(re.search(r"below ([\d.e-]+) %", parity.words)[1]) / 100
    assert parity.flips_bound * (1 - 1e-5) <= said <= min(2.0001 * wanted, wanted + 0.0101)
    if not flips:
        assert parity.flips_bound <= 3 / rows


@given(st.floats(1e-12, 1))
def test_differences_in_sentences_are_rounded_up(value):
    assert value * (1 - 1e-5) <= float(figure(value)) <= 1.1001 * value
    assert value * (1 - 1e-5) <= float(rounded_up(value)) / 100 <= min(2.0001 * value, value + 0.0101)


def test_no_sentence_and_no_scalar_is_nan():
    nothing = FormatParity("onnx", ("model.onnx",), False, "no row was compared. Keep rows of validation")
    report = ExportReport("export", formats=(nothing, WEIGHTS, replace(ONNX, latency={}, largest=math.nan)))
    assert not re.search(r"\bnan\b|\binf\b", " ".join([*report.notes, report.words]))
    assert all(map(math.isfinite, report.scalars().values()))
    assert set(report.scalars()) >= {"export/onnx/kept", "export/safetensors/bytes"}


def test_scalars_are_the_figures_of_each_format():
    found = REPORT.scalars()
    assert {name: value for name, value in found.items() if name.startswith("export/onnx/")} == {
        "export/onnx/kept": 1.0,
        "export/onnx/flips": 0.0,
        "export/onnx/max_difference": 3e-7,
        "export/onnx/latency_ratio": pytest.approx(0.2),
        "export/onnx/bytes": 50_000.0,
    }
    assert found["export/pt2/kept"] == 0.0
    assert "export/safetensors/flips" not in found


def test_refused_formats_are_alerts_with_their_reason():
    assert REPORT.alerts == ("model.pt2 is not kept: a probability differs by 0.27, above 0.0001",)
    assert REPORT.words == f"{ONNX.words}; 1 format is refused"
    assert ExportReport("export", formats=(REFUSED, REFUSED)).words == "nothing was exported; 2 formats are refused"
    assert ExportReport("export").words == "nothing was exported"
    for note in ("weights: best, epoch 7", "the most probable class", "the temperature is not inside"):
        assert note in REPORT.notes


def test_a_report_comes_back_from_json():
    saved = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    again = ExportReport.from_dict(saved)
    assert saved["kind"] == "export"
    assert again.to_dict() == REPORT.to_dict()
    assert repr(again["int8"]) == repr(INT8)
    assert math.isinf(again["int8"].tolerance)
    assert math.isnan(again["safetensors"].tolerance)


def test_a_format_is_found_by_its_name():
    assert REPORT["int8"] is INT8
    with pytest.raises(KeyError, match="'coreml', wanted one of onnx, int8, pt2, safetensors"):
        REPORT["coreml"]


def compared(program_of, tested, rows, target):
    """The whole way, from a program to its parity."""
    run, eager = runner(program_of.module()), runner(tested)
    reference = eager(rows)
    sums = ParitySums("float32", decision=Decision("multiclass", ("a", "b", "c")))
    sums.add(reference, run(rows), target=target)
    tolerance = Tolerance.of("float32", eager_noise(eager, rows))
    figures = [accuracy_score(target, answers.decision) for answers in (reference, run(rows))]
    evidence = Evidence(
        sums.counts, tolerance, refusals=check_batches(run, reference, rows, allowed=tolerance.largest),
        metrics={"accuracy": tuple(figures)},
        first_apart=first_apart_in_program(tested, program_of, rows, prefix="network."),
    )  # fmt: skip
    return FormatParity.of(evidence, decide(evidence), name="pt2", files=("model.pt2",), stage="val", bytes=1)


def test_a_program_that_is_right_is_kept_and_one_of_other_weights_refused_with_its_layer():
    module, rows = made(Convolutional)
    program, target = traced(module, rows), np.array([0, 1, 2, 0, 1, 2])
    tested = copy.deepcopy(module)
    right = compared(program, tested, rows, target)
    assert right.kept
    assert right.words.startswith("model.pt2 gives the answers that were tested: 0 of 6 labels flip, so below 40 %")
    program.state_dict["network.head.weight"].data.mul_(3)
    wrong = compared(program, tested, rows, target)
    assert not wrong.kept
    assert "The first layer apart is `head` (Linear), off by" in wrong.reason
    assert wrong.words == f"model.pt2 is not kept: {wrong.reason}"
