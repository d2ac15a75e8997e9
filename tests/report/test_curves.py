"""Which curves are shown at a glance, and how they are drawn."""

import json

import pytest

from lightning_posttrain.core.drawing.canvas import WIDE
from lightning_posttrain.report.charts import chart_layout
from lightning_posttrain.report.curves import Curve, curves_of
from lightning_posttrain.report.render.glance import best_of, glance_image


def history(stage, **metrics):
    """Lines with a value an epoch."""
    rows = zip(*metrics.values(), strict=True)
    return [
        {"stage": stage, "epoch": epoch, "metrics": dict(zip(metrics, row, strict=True))}
        for epoch, row in enumerate(rows)
    ]


def test_what_one_looks_at_first_comes_first_and_a_rate_of_learning_last():
    figures = {name: [0.1, index + 0.2] for index, name in enumerate(("zeal", "f1_macro", "ece", "accuracy", "mcc"))}
    lines = [
        *history("val", **figures, loss=[3.0, 2.0]),
        *history("train", loss_epoch=[4.0, 3.0], loss_step=[9.0, 9.0], **{"lr-Adam": [0.1, 0.2]}),
    ]
    assert [curve.name for curve in curves_of(lines)] == ["loss", "accuracy", "f1_macro", "lr-Adam"]
    loss = curves_of(lines)[0]
    assert loss.train == ((0.0, 4.0), (1.0, 3.0))
    assert loss.val == ((0.0, 3.0), (1.0, 2.0))


def test_training_that_only_the_gap_knows_is_drawn():
    pairs = [{"epoch": 0, "train": 0.5, "val": 0.4}, {"epoch": 1, "train": 0.9, "val": 0.6}]
    (curve,) = curves_of(history("val", accuracy=[0.4, 0.6]), {"history": {"accuracy": pairs}})
    assert curve == Curve("accuracy", ((0.0, 0.5), (1.0, 0.9)), ((0.0, 0.4), (1.0, 0.6)))


def test_the_same_curve_is_drawn_once():
    same = curves_of(history("val", loss=[0.4, 0.3], log_loss=[0.4, 0.3000001], accuracy=[0.4, 0.3001]))
    assert [curve.name for curve in same] == ["loss", "accuracy"]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        history("val", loss=[0.4]),
        history("val", loss=[float("nan")] * 3),
        [{"stage": "val"}, {"stage": "val", "epoch": 0, "metrics": {"loss": "low"}}, {"epoch": "x", "metrics": None}],
        history("test", loss=[0.4, 0.2]),
    ],
)
def test_where_there_is_nothing_to_look_at_there_is_no_curve(lines):
    assert curves_of(json.loads(json.dumps(lines))) == ()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("epochs", [2, 400])
def test_any_number_of_curves_is_a_picture_that_fills_a_card(count, epochs):
    points = tuple((float(epoch), 1.0 / (epoch + 1)) for epoch in range(epochs))
    curves = [Curve(f"{'a_name_that_is_long_' * 3}{k}", points if k % 2 else (), points) for k in range(count)]
    assert glance_image(curves).pixels.shape == (WIDE[1], WIDE[0], 3)
    assert 1.4 < WIDE[0] / WIDE[1] < 1.6


def test_a_curve_that_does_not_move_is_drawn():
    glance_image([Curve("loss", (), ((0.0, 0.0), (1.0, 0.0)))])


def test_the_best_of_a_loss_is_its_least_and_of_a_score_its_most():
    points = ((0.0, 0.3), (1.0, 0.1), (2.0, 0.2))
    assert best_of(Curve("log_loss", (), points)) == (1.0, 0.1)
    assert best_of(Curve("accuracy", (), points)) == (0.0, 0.3)
    assert best_of(Curve("lr", points, ())) is None


def test_charts_have_tags_of_one_kind_together():
    tags = ["train_acc", "val_acc", "train_loss_step", "train_loss_epoch", "val_loss", "val/log_loss", "gap/log_loss"]
    assert chart_layout(tags).groups == {
        "training with validation": {"loss": ("train_loss_epoch", "val_loss"), "acc": ("train_acc", "val_acc")},
        "validation": {"losses": ("val_loss", "val/log_loss")},
        "training − validation": {"log_loss": ("gap/log_loss",)},
    }


def test_without_pairs_there_is_no_chart():
    assert chart_layout(["val/loss", "train/speed", "test/accuracy"]).groups == {}
