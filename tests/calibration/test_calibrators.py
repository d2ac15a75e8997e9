import io
import math

import pytest
import torch
from torch import nn

from lightning_posttrain.calibration.calibrators.isotonic import IsotonicCalibration
from lightning_posttrain.calibration.calibrators.methods import METHODS, check_method, from_state
from lightning_posttrain.calibration.calibrators.scaling import (
    Identity,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)


def rising(points=5):
    return torch.linspace(-2, 3, points), torch.linspace(0, 0.9, points)


CALIBRATORS = [
    Identity("binary"),
    TemperatureScaling(1.83, "multiclass"),
    TemperatureScaling(0.5, "binary"),
    TemperatureScaling(2.0, "multilabel"),
    VectorScaling(torch.tensor([0.5, 2.0, 1.0]), torch.tensor([0.1, -0.2, 0.1]), "multiclass"),
    PlattScaling(0.4, -1.0, "binary"),
    PlattScaling(torch.tensor([0.4, 1.0, 3.0]), torch.tensor([0.0, -1.0, 2.0]), "multilabel"),
    IsotonicCalibration(*rising(), "binary"),
]
NAMES = [f"{each.method}-{each.task}" for each in CALIBRATORS]
every = pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)


def logits_of(calibrator, rows=7):
    return 2 * torch.randn(rows, 2 if calibrator.task == "binary" else 3)


def network(calibrator):
    return nn.Sequential(nn.Linear(4, 2 if calibrator.task == "binary" else 3), calibrator).eval()


@every
def test_shape_and_type_stay(calibrator):
    logits = logits_of(calibrator)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert calibrator(logits.to(dtype)).dtype == dtype
        assert calibrator(logits.to(dtype)).shape == logits.shape
    pixels = logits[:, :, None, None].expand(-1, -1, 4, 5)
    assert torch.allclose(calibrator(pixels)[:, :, 2, 3], calibrator(logits), atol=1e-6)
    assert calibrator(logits[:0]).shape == logits[:0].shape


@every
def test_the_state_comes_back_through_a_file_of_weights_only(calibrator):
    file = io.BytesIO()
    torch.save(calibrator.to_state(), file)
    file.seek(0)
    again = from_state(torch.load(file, weights_only=True))
    logits = logits_of(calibrator)
    assert type(again) is type(calibrator)
    assert again.task == calibrator.task
    assert torch.equal(again(logits), calibrator(logits))
    assert again.describe() == calibrator.describe()
    assert again.numbers() == calibrator.numbers()


@every
@pytest.mark.filterwarnings("ignore:`torch.jit.trace.*` is deprecated:DeprecationWarning")
def test_it_exports_and_traces_behind_a_network(calibrator):
    model, inputs = network(calibrator), torch.randn(6, 4)
    with torch.no_grad():
        expected = model(inputs)
    traced = torch.jit.trace(model, inputs)
    batch = {0: torch.export.Dim("batch", min=2, max=64)}
    exported = torch.export.export(model, (inputs,), dynamic_shapes=(batch,)).module()
    more = torch.randn(9, 4)
    for again in (traced, exported):
        assert torch.allclose(again(inputs), expected, atol=1e-6)
        assert torch.allclose(again(more), model(more), atol=1e-6)


@every
def test_it_has_nothing_to_train_and_lets_gradients_through(calibrator):
    assert list(calibrator.parameters()) == []
    logits = logits_of(calibrator).requires_grad_()
    calibrator(logits).square().sum().backward()
    assert bool(logits.grad.isfinite().all())
    assert bool(logits.grad.abs().sum() > 0)


@every
def test_the_gradient_is_that_of_finite_differences(calibrator):
    logits = logits_of(calibrator).double().requires_grad_()
    assert torch.autograd.gradcheck(calibrator, (logits,), eps=1e-7, atol=1e-4)


@every
def test_a_class_ruled_out_stays_ruled_out(calibrator):
    logits = logits_of(calibrator)
    logits[::2, 0] = -torch.inf
    logits.requires_grad_()
    after = calibrator(logits)
    assert not bool(after.isnan().any())
    if calibrator.task == "multilabel":
        assert bool((after[::2, 0] == -torch.inf).all())
    else:
        assert bool((after[::2].softmax(1)[:, 0] == 0).all())


@pytest.mark.parametrize("calibrator", [each for each in CALIBRATORS if each.task == "binary"], ids=lambda c: c.method)
def test_one_logit_a_row_gives_the_margin_of_two(calibrator):
    logits = logits_of(calibrator)
    margin, after = logits[:, 1] - logits[:, 0], calibrator(logits)
    assert torch.allclose(calibrator(margin), after[:, 1] - after[:, 0], atol=1e-6)
    assert torch.allclose(calibrator(margin[:, None])[:, 0], after[:, 1] - after[:, 0], atol=1e-6)
    if not isinstance(calibrator, Identity):
        assert after[:, 0].tolist() == [0] * 7


def test_each_does_what_its_formula_says():
    logits = torch.tensor([[1.0, -2.0, 3.0]])
    found = [calibrator(logits)[0].tolist() for calibrator in CALIBRATORS if calibrator.task != "binary"]
    expected = [[x / 1.83 for x in (1, -2, 3)], [0.5, -1, 1.5], [0.6, -4.2, 3.1], [0.4, -3, 11]]
    for ours, wanted in zip(found, expected, strict=True):
        assert ours == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("margin", "chance"), [(-99.0, 2**-23), (-2.0, 2**-23), (-1.375, 0.1125), (0.5, 0.45), (3.0, 0.9), (99.0, 0.9)]
)
def test_isotonic_calibration_goes_straight_between_points_and_stays_beyond_them(margin, chance):
    found = IsotonicCalibration(*rising(), "binary")(torch.tensor([margin]))
    assert float(found) == pytest.approx(math.log(chance / (1 - chance)), abs=1e-5)


def test_isotonic_calibration_never_falls_and_is_never_certain():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, generator=generator).sort().values.repeat_interleave(2)  # with steps
    y = torch.rand(60, generator=generator).sort().values.round(decimals=1)
    after = IsotonicCalibration(x, y, "binary")(torch.linspace(-5, 5, 10_001))
    assert bool((after.diff() >= -1e-6).all())
    assert after[0] == pytest.approx(-15.94, abs=0.01)
    assert after[-1] == pytest.approx(15.94, abs=0.01)


def test_isotonic_calibration_with_one_point_gives_its_probability():
    after = IsotonicCalibration(torch.tensor([1.0]), torch.tensor([0.25]), "binary")(torch.tensor([-3.0, 1.0, 8.0]))
    assert after.sigmoid().tolist() == pytest.approx([0.25] * 3)


@pytest.mark.parametrize(
    ("calibrator", "words"),
    [
        (Identity("multiclass"), "no adjustment"),
        (TemperatureScaling(1.83, "multiclass"), "temperature 1.83: the network is too sure of itself"),
        (TemperatureScaling(0.7, "multiclass"), "temperature 0.70: the network is not sure enough"),
        (TemperatureScaling(1.0, "multiclass"), "temperature 1.00: the network is about as sure as it may be"),
        (TemperatureScaling(100, "binary"), "temperature 100.00, the highest that is tried: the network is far too"),
        (TemperatureScaling(0.01, "binary"), "temperature 0.01, the lowest that is tried: the network may be far"),
        (PlattScaling(0.5, -1.0, "binary"), "slope 0.50, bias -1.00: the network is too sure of itself, and gives cla"),
        (PlattScaling(-0.5, 0.0, "binary"), "slope -0.50, bias +0.00: larger scores do not make class 1 more likely"),
        (CALIBRATORS[4], "scales 0.50 to 2.00 and biases -0.20 to 0.10 by class: the network is not sure enough"),
        (CALIBRATORS[6], "slopes 0.40 to 3.00 and biases -1.00 to 2.00 by label"),
        (CALIBRATORS[7], "a rising line through 5 points gives probabilities of 0.000 to 0.900"),
    ],
)
def test_each_says_what_it_found(calibrator, words):
    assert calibrator.describe().startswith(words)


def test_numbers_are_those_that_stand_alone():
    assert TemperatureScaling(2.0, "binary").numbers() == {"temperature": 2.0}
    assert PlattScaling(0.5, 1.0, "binary").numbers() == {"slope": 0.5, "bias": 1.0}
    assert CALIBRATORS[4].numbers() == Identity("binary").numbers() == {}


def test_what_is_made_in_inference_mode_can_be_trained_behind():
    with torch.inference_mode():
        made = [from_state(calibrator.to_state()) for calibrator in CALIBRATORS]
    for calibrator in made:
        assert not any(buffer.is_inference() for buffer in calibrator.buffers())


def test_an_unknown_method_is_refused_with_those_that_there_are():
    for state in ({"method": "beta", "task": "binary"}, {}):
        with pytest.raises(ValueError, match=r"`state` has method .* wanted 'none', 'temperature', .* or 'isotonic'"):
            from_state(state)
    assert set(METHODS) == {"none", "temperature", "vector", "platt", "isotonic"}
    with pytest.raises(ValueError, match="`method` is 'none', wanted 'temperature', 'platt' or 'isotonic'"):
        check_method("none", "binary")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PlattScaling(1.0, 0.0, "multiclass"), "`task` is 'multiclass', wanted 'binary' or 'multilabel'"),
        (lambda: TemperatureScaling(1.0, "regression"), "`task` is 'regression'"),
        (lambda: TemperatureScaling(0.0, "binary"), "`temperature` is 0.0, wanted above 0"),
        (lambda: TemperatureScaling(math.nan, "binary"), "`temperature` is nan"),
        (
            lambda: VectorScaling(torch.ones(3), torch.ones(2), "multiclass"),
            r"`scale` has shape \(3,\) and `bias` \(2,",
        ),
        (lambda: PlattScaling(torch.ones(2), torch.ones(2), "binary"), r"wanted both \(\), a number"),
        (lambda: PlattScaling(1.0, 0.0, "multilabel"), r"wanted both \(L,\)"),
        (lambda: IsotonicCalibration(torch.ones(2), torch.ones(3), "binary"), r"`x` has shape \(2,\) and `y` \(3,\)"),
        (lambda: IsotonicCalibration(torch.tensor([1.0, 0.0]), torch.ones(2), "binary"), "wanted both to rise"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_isotonic_calibration_is_exported_as_it_is():
    points = torch.tensor([-2.0, -0.5, -0.5, 1.0, 3.0])
    calibrator = IsotonicCalibration(points, torch.tensor([0.1, 0.2, 0.3, 0.6, 0.9]), "binary")
    margins = torch.cat([points, torch.randn(200) * 3, torch.tensor([-torch.inf, torch.inf])])
    with torch.no_grad():
        program = torch.export.export(calibrator, (margins,))
    assert torch.equal(program.module()(margins), calibrator(margins))
    assert "searchsorted" not in str(program)
