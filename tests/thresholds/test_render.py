import math

import numpy as np
import pytest
import torch

from lightning_posttrain.core.drawing.canvas import WIDE, WIDTH, width_of
from lightning_posttrain.core.drawing.plot import Axes, Line
from lightning_posttrain.thresholds.functional.abstention import risk_coverage
from lightning_posttrain.thresholds.functional.choose import threshold_report
from lightning_posttrain.thresholds.functional.objectives import Objective
from lightning_posttrain.thresholds.render.abstention import risk_coverage_image, risk_coverage_table
from lightning_posttrain.thresholds.render.thresholds import curve_table, thresholds_image, thresholds_table

OBJECTIVES = [
    Objective(),
    Objective("youden"),
    Objective("recall_at_precision", at=0.97),
    Objective("precision_at_recall", at=0.8),
    Objective("cost", costs=((0, 1), (50, 0))),
]


def report_of(objective=OBJECTIVES[0], labels=1, rows=1000, names=None, **options):
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(rows, labels, generator=generator) < 0.2).long()
    probability = torch.sigmoid(torch.randn(rows, labels, generator=generator) + 2.0 * target - 2.5)
    names = names or tuple(f"label {i}" for i in range(labels))
    return threshold_report(probability, target, objective, class_names=names, **options)


@pytest.fixture
def lines(monkeypatch):
    """The lines of every plot."""
    drawn = []
    draw = Axes.draw

    def record(axes, canvas, lines, **labels):
        drawn.extend(lines)
        draw(axes, canvas, lines, **labels)

    monkeypatch.setattr(Axes, "draw", record)
    return drawn


def fits(written, width=WIDTH):
    """Whether every text ends within the sheet, if it starts where it was put."""
    return all(width_of(text, options.get("size", 22)) <= width - 16 for text, options in written)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.text)
def test_one_label_is_drawn_as_a_curve_with_a_dot_at_one_half_and_at_the_threshold(objective, lines, written):
    report = report_of(objective)
    image = thresholds_image(report, "val")
    assert image.pixels.shape[1:] == (WIDTH, 3)
    half, tuned = [line for line in lines if line.dots]
    assert half.x == [0.0]
    assert half.y == pytest.approx([report.default.objective.item()])
    assert tuned.x == pytest.approx([report.tuned.threshold.logit().item()])
    on_curve = report.curves[0].value[report.curves[0].threshold == report.tuned.threshold]
    assert tuned.y == pytest.approx(on_curve.tolist())
    texts = [text for text, _ in written]
    assert texts[0] == f"val · label 0: {objective.text}"
    assert any(f"{report.default.objective.item():.4f} at 0.5" in text for text in texts)
    assert fits(written)


def test_precision_has_no_line_where_nothing_is_predicted(lines):
    thresholds_image(report_of())
    precision = lines[0]
    assert math.isnan(precision.y[-1])
    assert min(value for value in precision.y if not math.isnan(value)) > 0.1


def test_precision_and_recall_are_not_drawn_on_the_scale_of_a_cost(lines):
    thresholds_image(report_of(OBJECTIVES[4]))
    assert sum(len(line.x) > 2 for line in lines) == 1


def test_the_caption_says_the_gain_and_its_interval(written):
    report = report_of()
    thresholds_image(report)
    said = " ".join(text for text, _ in written)
    low, high = report.gain_interval
    assert f"F1 rises by {report.gain:.3f} against a threshold of 0.5 (95 % interval {low:.3f} to {high:.3f})" in said


def test_many_labels_are_rows_by_their_gain_and_those_left_out_are_counted(written, lines):
    report = report_of(labels=40, rows=500)
    thresholds_image(report, "val")
    texts = [text for text, _ in written]
    assert texts[0] == "val · F1 of each label; 20 labels left out"
    best = report.gains.argsort(descending=True)[:20].tolist()
    assert [text for text in texts if text.startswith("label ")] == [f"label {i}" for i in best]
    joined = [line for line in lines if len(line.x) == 2]
    assert [line.x[1] - line.x[0] for line in joined] == pytest.approx(report.gains[best].tolist())
    assert f"{report.tuned.threshold[best[0]]:.3f}" in texts


def test_a_label_that_becomes_worse_is_orange_and_said(lines, written):
    report = report_of(labels=2, frozen=torch.tensor([0.3, 0.9]))
    thresholds_image(report)
    assert len({line.color for line in lines if len(line.x) == 2}) == 2
    assert "the same, where it is worse" in [text for text, _ in written]


def test_long_names_fit(written):
    names = ("a name that goes on and on, longer than any picture is wide, and then on " * 3, "b")
    thresholds_image(report_of(labels=2, names=names))
    thresholds_image(report_of(names=names[:1]), "val")
    assert fits(written)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("frozen", [False, True])
def test_no_rows_are_said_in_a_picture(labels, frozen, written):
    report = report_of(labels=labels, rows=0, frozen=torch.full((labels,), 0.3) if frozen else None)
    thresholds_image(report, "val")
    texts = " ".join(text for text, _ in written)
    assert "nan" not in texts
    assert "No rows were counted." in texts or frozen
    assert len(thresholds_table(report).rows) == labels


@pytest.mark.parametrize("threshold", [0.0, 1e-12, 1.0, 1 + 2.0**-23])
def test_a_threshold_at_either_end_can_be_drawn(threshold):
    thresholds_image(report_of(frozen=torch.tensor([threshold], dtype=torch.float64)), "test")


def test_the_table_has_a_row_for_each_label():
    report = report_of(labels=2)
    table = thresholds_table(report)
    assert table.columns == (
        "label",
        "positive rows",
        "threshold",
        "precision",
        "recall",
        "F1 at 0.5",
        "F1 at threshold",
    )
    assert table.rows[1][0] == "label 1"
    expected = (report.tuned.threshold, report.tuned.precision, report.tuned.recall, report.default.f_beta)
    assert table.rows[1][1] == report.positives[1]
    assert table.rows[1][2:6] == pytest.approx([values[1].item() for values in expected])
    assert table.rows[1][6] == pytest.approx(report.tuned.f_beta[1].item())
    assert table.note.startswith("Mean F1 rises by")


def test_the_table_without_thresholds_has_figures_at_one_half_and_says_why():
    target = torch.tensor([[0], [1]])
    table = thresholds_table(threshold_report(target.double(), target, Objective(), class_names=("yes",)))
    assert table.rows == (("yes", 1, 0.5, 1.0, 1.0, 1.0, None),)
    assert table.note.startswith("0.5 is kept")


def test_the_points_of_the_curves_are_for_files():
    report = report_of(labels=2)
    table = curve_table(report)
    assert table.files_only
    assert len(table.rows) == sum(len(curve.threshold) for curve in report.curves)
    assert table.rows[-1][2:] == (pytest.approx(0.0), None, 0.0)


def unsure(rows=2000):
    confidence = 0.5 + torch.rand(rows, dtype=torch.float64) / 2
    return confidence, torch.rand(rows) < confidence


def test_risk_is_drawn_against_coverage_with_the_chosen_point(lines, written):
    result = risk_coverage(*unsure(), max_risk=0.1)
    risk_coverage_image(result, "val")
    everything, wanted, curve, _, point = lines
    assert everything.y == [result.error_rate] * 2
    assert wanted.y == [0.1] * 2
    np.testing.assert_array_equal(curve.y, result.risk)
    assert point == Line([result.coverage_at], [result.risk_at], point.color, point.width, dots=True)
    said = " ".join(text for text, _ in written)
    assert f"{100 * result.coverage_at:.2f} % of the rows are answered" in said
    assert f"95 % upper bound {100 * result.risk_upper:.2f} %" in said
    assert fits(written, WIDE[0])


@pytest.mark.parametrize(
    ("confidence", "right", "said"),
    [
        (torch.zeros(0), torch.zeros(0) > 0, "No rows were counted."),
        (torch.full((9,), 0.9), torch.arange(9) > 4, "No coverage has a risk of 0.1 or less."),
        (torch.rand(9), torch.ones(9) > 0, "All rows are answered, 0.00 % of them wrongly"),
    ],
)
def test_pictures_of_no_rows_equal_rows_and_rows_without_error(confidence, right, said, written):
    risk_coverage_image(risk_coverage(confidence, right, max_risk=0.1))
    assert said in " ".join(text for text, _ in written)
    assert fits(written, WIDE[0])


def test_a_frozen_threshold_that_answers_nothing_is_said(written):
    risk_coverage_image(risk_coverage(torch.rand(9) / 2, torch.ones(9) > 0, max_risk=0.1, frozen=0.9))
    assert "No row has a confidence of 0.9 or more." in " ".join(text for text, _ in written)


def test_the_points_of_risk_and_coverage_are_for_files():
    result = risk_coverage(*unsure(100))
    table = risk_coverage_table(result)
    assert table.files_only
    assert table.rows[-1] == (0.0, 1.0, pytest.approx(result.error_rate))
