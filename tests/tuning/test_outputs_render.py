import math
from dataclasses import replace

import numpy as np
import pytest

from lightning_posttrain.core.drawing.canvas import WIDTH
from lightning_posttrain.tuning import Study, Trial
from lightning_posttrain.tuning.render import study_artifacts
from lightning_posttrain.tuning.render.history import history_image
from lightning_posttrain.tuning.render.importance import importance_image
from lightning_posttrain.tuning.render.parallel import parallel_image
from lightning_posttrain.tuning.render.scale import BEST, COMPLETE, FAILED, PRUNED, Scale, Values
from lightning_posttrain.tuning.render.slices import slices_image
from tests.tuning.studies import SPACE, study

MIXED = ("complete", "complete", "pruned", "failed")
LONG = {f"model.backbone.encoder.layer_{k}.attention_dropout_probability": (0.0, 0.5) for k in range(4)}
TWELVE = {
    **SPACE,
    **LONG,
    "optimizer": ["adamw_with_warmup", "sgd_nesterov", "lion", "adafactor", "rmsprop"],
    "batch_size": [8, 16, 32, 64, 128, 256, 512],
    "seed": (0, 3),
}
CASES = {
    "usual": study(30, states=MIXED),
    "one trial": study(1),
    "one parameter": study(20, space={"lr": (1e-4, 1.0, "log")}, value=lambda p: p["lr"]),
    "no parameter": study(5, space={}, value=lambda p: 0.5),
    "twelve": study(60, space=TWELVE, states=MIXED),
    "many": study(200, states=MIXED),
    "failed": study(12, states=("failed",)),
    "waiting": study(2, states=("waiting",)),
    "none": study(0),
    "equal": study(12, value=lambda p: 0.5),
    "maximised": replace(study(20, states=MIXED), mode="max"),
}


def colored(image, color):
    """Places of pixels of a colour (M, 2): down, across."""
    return np.argwhere((image.pixels.numpy() == np.array(color, dtype=np.uint8)).all(-1))


@pytest.mark.parametrize("case", CASES)
def test_every_study_has_its_pictures(case):
    drawn = {each.tag: each.artifact for each in study_artifacts(CASES[case])}
    assert set(drawn) >= {"history", "slices", "parallel_coordinates"}
    assert ("importance" in drawn) == (CASES[case].importance is not None)
    for image in drawn.values():
        assert image.pixels.shape[1:] == (WIDTH, 3)
        assert 120 < image.pixels.shape[0] < 3000
        edge = image.pixels[:, [0, 1, -2, -1]]
        assert int(edge.min()) == 255, "something is cut off at the side"


def test_every_parameter_is_named_and_each_state_has_its_colour(written):
    image = slices_image(CASES["usual"])
    said = [text for text, _ in written]
    assert set(SPACE) <= set(said)
    assert "digits · val/log_loss against each parameter" in said
    best = CASES["usual"].best
    assert f"the best: trial {best.number}, {best.value:.4g}" in said
    for color in (BEST, COMPLETE, PRUNED, FAILED):
        assert len(colored(image, color)) > 100


def test_long_names_that_differ_are_drawn_as_differently(written):
    parallel_image(CASES["twelve"])
    said = [text for text, _ in written]
    assert {f"encoder.layer_{k}." for k in range(4)} <= set(said)


def test_choices_that_do_not_fit_half_a_row_have_a_whole_one(written):
    image = slices_image(CASES["twelve"])
    said = [text for text, _ in written]
    assert {"lion", "adafactor", "rmsprop", "8", "512"} <= set(said)
    assert not any("…" in text and text[0].isdigit() for text in said)
    assert image.pixels.shape[0] > slices_image(CASES["usual"]).pixels.shape[0]


def test_the_best_dot_stands_where_its_value_and_parameter_are():
    trials = tuple(
        Trial(n, {"lr": lr}, "complete", value) for n, (lr, value) in enumerate([(1e-4, 1.0), (1e-2, 0.0), (1.0, 1.0)])
    )
    found = Study("s", "loss", "min", {"lr": (1e-4, 1.0, "log")}, "random", "none", trials)
    image = slices_image(found)
    picture = colored(image, BEST)
    dot = picture[picture[:, 0] < 430]  # above the legend
    others = colored(image, COMPLETE)
    others = others[others[:, 0] < 430]
    assert dot[:, 0].mean() > others[:, 0].mean() + 200
    assert dot[:, 1].mean() == pytest.approx((others[:, 1].min() + others[:, 1].max()) / 2, abs=3)


def test_a_scale_is_logarithmic_where_the_space_says_so():
    scale = Scale((1e-4, 1.0, "log"), (0.01, 0.5))
    assert scale.place(0.01) == pytest.approx((scale.place(1e-4) + scale.place(1.0)) / 2)
    assert [text for _, text in scale.marks(290)] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    even = Scale((0.0, 1.0), (0.2,))
    assert even.place(0.5) == pytest.approx((even.place(0.0) + even.place(1.0)) / 2)
    for value, text in even.marks(290):
        assert even.place(float(text)) == pytest.approx(value)


def test_choices_stand_in_their_order_and_true_is_not_one():
    scale = Scale([True, 1, "a"], (1,))
    assert [scale.place(value) for value in (True, 1, "a")] == pytest.approx([1 / 6, 1 / 2, 5 / 6])


def test_values_outside_of_the_space_have_a_place_too():
    scale = Scale((0.0, 1.0), (3.0,))
    assert 0 <= scale.place(0.0) < scale.place(3.0) <= 1


def test_marks_that_would_touch_are_left_out():
    marks = Scale(list(range(40)), ()).marks(290)
    shown = [place * 290 for place, text in marks if text]
    assert len(marks) == 40
    assert 5 < len(shown) < 20
    assert min(np.diff(shown)) > 15


@pytest.mark.parametrize("mode", ["min", "max"])
def test_far_worse_values_lie_at_the_edge_and_are_counted(mode, written):
    sign = 1 if mode == "min" else -1
    trials = [Trial(n, {}, "complete", sign * (0.5 + n / 100)) for n in range(20)]
    found = replace(study(0), mode=mode, trials=(*trials, Trial(20, {}, "complete", sign * 50.0)))
    values = Values(found)
    low, high = values.range
    assert high - low < 0.3
    assert values.beyond == 1
    assert low < values.within(sign * 50.0) < high
    history_image(found)
    assert "1 far worse value lies at the edge." in [text for text, _ in written]
    # a value far better than the others is what was looked for
    better = replace(found, trials=(*trials, Trial(20, {}, "complete", sign * -50.0)))
    assert Values(better).beyond == 0


def test_the_line_of_the_best_so_far_never_gets_worse():
    from lightning_posttrain.tuning.render.history import _so_far

    for found in (CASES["usual"], CASES["maximised"]):
        values = Values(found)
        (line,) = _so_far(values)
        steps = found.sign * np.diff(line.y)
        assert (steps <= 0).all()
        assert line.y[-1] == values.within(found.best.value)
        assert line.x[-1] == max(trial.number for trial in found.ranked)


def test_importance_is_drawn_in_shares(written):
    found = CASES["many"]
    image = importance_image(found)
    said = [text for text, _ in written]
    assert set(found.importance) <= set(said)
    bars = colored(image, COMPLETE)
    lengths = [len(set(bars[bars[:, 0] == row][:, 1])) for row in sorted(set(bars[:, 0]))]
    shares = sorted(found.importance.values(), reverse=True)
    assert max(lengths) / lengths[0] == 1
    drawn = list(dict.fromkeys(lengths))
    assert drawn[1] / drawn[0] == pytest.approx(shares[1] / shares[0], abs=0.02)
    assert not any("it is rough" in text for text in said)


def test_a_study_without_a_value_says_so(written):
    for draw in (history_image, parallel_image, slices_image):
        written.clear()
        draw(CASES["failed"])
        assert "no trial has a value yet" in [text for text, _ in written]


def test_a_line_has_a_gap_where_a_trial_lacks_a_parameter():
    from lightning_posttrain.tuning.render.parallel import _lines
    from lightning_posttrain.tuning.render.scale import scales

    found = replace(study(0), trials=(Trial(0, {"model.lr": 0.1, "model.depth": 2}, "complete", 0.5),))
    trials = (*found.trials, Trial(1, {"model.lr": 0.1}, "complete", 0.6))
    found = replace(found, trials=trials)
    worse, best = _lines(Values(found), scales(found))
    assert [math.isnan(x) for x in worse.x] == [False, False, True]
    assert not any(map(math.isnan, best.x))
    assert best.color == BEST
