import json

import pytest


def losses(train, val):
    rows = [{"epoch": k, "train": a, "val": b} for k, (a, b) in enumerate(zip(train, val, strict=True))]
    return {"history": {"log_loss": rows}}


TRAIN = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3]


def test_a_gap_that_grows_while_validation_rises_is_said(said):
    found = said(gap__history=losses(TRAIN, [1.0, 0.8, 0.7, 0.75, 0.8, 0.9]))["overfitting"]
    assert found.text.startswith("It trained for too long: over the last 3 epochs the loss of validation rose")
    assert "to 0.900 in epoch 5 from 0.700 in epoch 2, its best" in found.text
    assert found.file == "gap/history.json"


@pytest.mark.parametrize(
    "val",
    [
        [1.0, 0.8, 0.7, 0.65, 0.62, 0.6],  # it still falls, the gap grows
        [1.0, 0.8, 0.7, 0.75, 0.8, 0.79],  # it fell in the last epoch
        [1.0, 0.9, 0.8, 0.7, 0.75, 0.8],  # two epochs alone
        [1.0, 0.8, 0.7, 0.701, 0.702, 0.703],  # next to nothing
    ],
)
def test_a_gap_alone_is_no_overfitting(said, val):
    assert "overfitting" not in said(gap__history=losses(TRAIN, val))


def test_a_gap_that_shrinks_is_no_overfitting(said):
    assert "overfitting" not in said(gap__history=losses([0.1, 0.1, 0.1, 0.4, 0.7, 1.2], [1, 0.8, 0.7, 0.75, 0.8, 0.9]))


@pytest.mark.parametrize(("train", "val"), [("log_loss", "log_loss"), ("loss_epoch", "loss")])
def test_the_history_of_the_run_serves_as_well(said, tmp_path, train, val):
    lines = [
        {"stage": stage, "epoch": k, "metrics": {name: value}}
        for stage, name, values in (("train", train, TRAIN), ("val", val, [1.0, 0.8, 0.7, 0.75, 0.8, 0.9]))
        for k, value in enumerate(values)
    ]
    said()
    (tmp_path / "posttrain" / "history.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert said()["overfitting"].file == "history.jsonl"
