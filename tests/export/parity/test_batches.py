"""Sizes and orders of batches, and the noise of the tested model."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity.batches import check_batches
from lightning_posttrain.export.parity.tolerance import Tolerance, eager_noise
from tests.export.parity.nets import Convolutional, Wrapped, made, runner, traced


def linear(rows):
    chance = 1 / (1 + np.exp(-rows["x"]))
    return Outputs(chance.astype(np.float32), (chance >= 0.5).astype(np.int64))


ROWS = {"x": np.random.default_rng(0).normal(size=(10, 3))}


def refused(run, *, rows=ROWS, allowed=1e-4):
    return check_batches(run, linear(rows), rows, allowed=allowed)


def test_a_model_that_answers_each_row_for_itself_has_no_refusal():
    assert refused(linear) == ()


def test_each_size_and_an_order_is_run():
    sizes = []

    def run(rows):
        sizes.append(len(rows["x"]))
        return linear(rows)

    refused(run)
    assert sizes == [1] * 8 + [2] * 8 + [7] * 8 + [64, 64]


def test_a_batch_size_that_fails_is_refused_with_its_error_and_the_cure():
    def run(rows):
        if len(rows["x"]) == 1:
            raise AssertionError("Guard failed: x.size()[0] != 1\n more of it")
        return linear(rows)

    (said,) = refused(run)
    assert said.startswith("batch size 1 fails: Guard failed: x.size()[0] != 1. The batch size is used as a number")
    assert "-1 in `view`" in said


def test_a_model_that_never_runs_is_refused_once():
    def run(rows):
        raise RuntimeError("no such operator: aten.searchsorted.")

    assert refused(run) == ("it does not run: no such operator: aten.searchsorted",)


def test_answers_of_another_shape_are_refused():
    def run(rows):
        return linear({"x": rows["x"][:, :2]})

    assert refused(run) == ("it does not run: `probabilities` has shape (1, 2), wanted (1, 3)",)


def test_rows_that_influence_each_other_are_refused():
    def run(rows):
        return linear({"x": rows["x"] - rows["x"].mean(0)})

    assert refused(run)[0].startswith("rows influence each other: at batch size 1 a probability differs by ")


def test_a_model_that_uses_the_place_of_a_row_is_refused():
    def run(rows):
        shift = 0.1 * (np.arange(len(rows["x"])) >= 32)[:, None]
        return linear({"x": rows["x"] + shift})

    assert any("in another order" in said for said in refused(run))


def test_what_sizes_may_differ_by_is_what_the_caller_allows():
    def run(rows):
        return linear({"x": rows["x"] + 1e-3 * len(rows["x"]) / 64})

    assert refused(run, allowed=1e-2) == ()
    assert refused(run, allowed=1e-5)


class Baked(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(x.view(2, -1))


def test_a_batch_size_that_is_baked_into_a_program_is_refused():
    module, rows = Wrapped(Baked()).eval(), made(Convolutional)[1]
    with torch.no_grad():
        program = torch.export.export(module, (torch.from_numpy(rows["input_0"][:2]),))
    said = check_batches(runner(program.module()), Outputs(np.zeros((6, 3)), np.zeros(6)), rows)
    assert [one.partition(" fails")[0] for one in said] == ["batch size 1", "batch size 7", "batch size 64"]


def test_a_program_with_a_free_batch_is_not_refused():
    module, rows = made(Convolutional)
    run = runner(traced(module, rows).module())
    assert check_batches(run, runner(module)(rows), rows) == ()


def test_the_noise_of_a_model_is_what_it_differs_from_itself_by():
    def run(rows):
        return linear({"x": rows["x"] + (0.125 if len(rows["x"]) == 1 else 0)})

    wanted = np.abs(linear(ROWS).probabilities.astype(float) - linear({"x": ROWS["x"] + 0.125}).probabilities).max()
    assert eager_noise(run, ROWS) == wanted > 0
    assert eager_noise(linear, ROWS) == 0


def test_the_noise_of_a_real_network_is_below_the_tolerance():
    module, rows = made(Convolutional)
    noise = eager_noise(runner(module), rows)
    assert noise < 1e-5
    assert Tolerance.of("float32", noise) == Tolerance("float32", 1e-4, 1e-3, noise, False)


@pytest.mark.parametrize(
    ("precision", "noise", "largest", "noisy"),
    [
        ("float32", 0.0, 1e-4, False),
        ("float32", 6e-5, 1.2e-4, False),
        ("float32", 4e-4, 8e-4, False),
        ("float32", 6e-4, 1e-4, True),
        ("float32", math.nan, 1e-4, True),
        ("half", 1e-6, 1e-2, False),
        ("half", 0.3, 1e-2, True),
        ("int8", 1e-6, math.inf, False),
    ],
)
def test_a_tolerance_is_raised_to_twice_the_noise_of_rounding_and_by_no_other(precision, noise, largest, noisy):
    found = Tolerance.of(precision, noise)
    assert found.largest == pytest.approx(largest)
    assert found.noisy == noisy


def test_a_batch_norm_in_training_mode_is_more_than_noise():
    module, rows = made(Convolutional)
    module.network.features.append(nn.BatchNorm2d(4).train())
    assert Tolerance.of("float32", eager_noise(runner(module), rows)).noisy
