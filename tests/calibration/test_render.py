import json
import math

import pytest
import torch
from scipy.stats import binomtest

from lightning_posttrain.calibration import render as drawing
from lightning_posttrain.calibration.functional.errors import calibration_figures
from lightning_posttrain.calibration.render import bins_table, calibration_image, calibration_table
from lightning_posttrain.calibration.result import FIGURES, CalibrationReport


def report(rows=500, bins=15, total=None, adjusted=True, classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(rows, classes, generator=generator)
    target = torch.multinomial((logits / 2).softmax(1), 1, generator=generator)[:, 0] if rows else torch.zeros(0).long()
    before, after = (calibration_figures((logits / t).softmax(1), target, bins=bins) for t in (1, 2))
    if not adjusted:
        return CalibrationReport(before, rows=rows, total=total or rows, reason="it would not help; not kept")
    words, parameters = "temperature 2.00: the network is too sure of itself", {"temperature": 2.0}
    return CalibrationReport(
        before,
        after,
        method="temperature",
        words=words,
        rows=rows,
        total=total or rows,
        kept=True,
        held_out=True,
        parameters=parameters,
    )


def said(written):
    return [text for text, _ in written]


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize(("rows", "bins"), [(0, 15), (1, 15), (500, 1), (500, 15), (2000, 600)])
def test_every_picture_is_twice_tensorboards_width_and_of_a_height_that_it_shows(rows, bins, adjusted):
    pixels = calibration_image(report(rows, bins, adjusted=adjusted)).pixels
    assert pixels.dtype == torch.uint8
    assert pixels.shape[1:] == (700, 3)
    assert pixels.shape[0] <= 1024


def test_before_and_after_stand_side_by_side_with_their_figures_and_the_sentence(written):
    result = report(total=9000)
    calibration_image(result, "val")
    texts = said(written)
    assert {"val · reliability diagram", "before", "after temperature"} <= set(texts)
    for figures in (result.before, result.after):
        assert f"ECE {figures.ece:.4f}" in texts
        assert f"log loss {figures.log_loss:.4f}" in texts
    assert "Temperature 2.00: the network is too sure of itself." in texts
    assert "Figures are from a sample of 500 of 9,000 rows." in texts


def test_without_an_adjustment_there_is_one_diagram_and_the_reason(written):
    calibration_image(report(adjusted=False))
    texts = said(written)
    assert "as the model says" in texts
    assert not {"before", "after adjustment"} & set(texts)
    assert "It would not help; not kept." in texts


def test_of_no_rows_it_says_so(written):
    calibration_image(report(0, adjusted=False))
    assert {"ECE not defined", "log loss not defined", "No rows were counted."} <= set(said(written))


def test_text_is_large_enough_to_be_read(written):
    calibration_image(report())
    assert min(options.get("size", 22) for _, options in written) >= 18


def test_a_bin_is_a_dot_of_its_rows_with_its_interval():
    whisker, dot = drawing._dot(0.5, 1.0, 25, 0.9, 0.6, most=100)
    assert (dot.x, dot.y) == ((0.9,), (0.6,))
    assert dot.width + drawing.DOT == pytest.approx(drawing.LARGEST / 2)  # a quarter of the area
    assert whisker.x == (0.9, 0.9)
    assert whisker.y == pytest.approx(binomtest(15, 25).proportion_ci(method="wilson"))
    assert drawing._dot(0.0, 0.5, 0, math.nan, math.nan, most=100) == []


def test_a_bin_of_one_row_is_the_smallest_dot_with_a_long_interval():
    whisker, dot = drawing._dot(0.5, 1.0, 1, 0.7, 0.0, most=500)
    assert dot.width + drawing.DOT == drawing.SMALLEST
    assert whisker.y[1] - whisker.y[0] > 0.75


@pytest.mark.parametrize("chance", [0.95, 0.55])
def test_too_sure_and_not_sure_enough_have_one_hue_and_a_side_of_the_diagonal(chance, monkeypatch):
    target = torch.arange(100) % 2
    own = torch.full((100,), chance)
    wrong = torch.arange(100) % 4 == 0
    own[wrong] = 1 - own[wrong]
    chances = torch.where(torch.nn.functional.one_hot(target, 2).bool(), own[:, None], 1 - own[:, None])
    drawn = []
    monkeypatch.setattr(drawing.Axes, "draw", lambda self, canvas, lines, **labels: drawn.extend(lines))
    calibration_image(CalibrationReport(calibration_figures(chances, target), rows=100, total=100))
    dots = [line for line in drawn if len(line.x) == 1]
    assert {dot.color for dot in dots} == {drawing.HUE}
    assert all((dot.y[0] < dot.x[0]) == (chance > 0.75) for dot in dots)


def test_both_axes_are_named(written):
    calibration_image(report())
    assert {"predicted probability", "share that came true"} <= set(said(written))


def test_a_long_title_and_a_long_sentence_stay_on_the_sheet(written):
    result = CalibrationReport(report().before, reason="it did not help " * 60, rows=500, total=500)
    assert calibration_image(result, "a title that does not end " * 9).pixels.shape[0] <= 1024
    assert all(drawing.shorten(text, 690, options.get("size", 22)) == text for text, options in written)


def test_the_table_has_ten_figures_before_and_after():
    result = report()
    table = calibration_table(result)
    assert table.columns == ("figure", "before", "after")
    assert [row[1:] for row in table.rows] == [
        (getattr(result.before, name), getattr(result.after, name)) for name in FIGURES
    ]
    assert list(drawing.READ) == list(FIGURES)
    assert table.note.startswith("Temperature 2.00: the network is too sure of itself. After: each row")
    alone = calibration_table(report(0, adjusted=False))
    assert alone.columns == ("figure", "before")
    assert {row[1] for row in alone.rows} == {None}


def test_the_bins_are_for_files_and_empty_ones_are_not_defined():
    result = report()
    table = bins_table(result)
    assert table.files_only
    assert [row[0] for row in table.rows] == ["before"] * 15 + ["after"] * 15
    assert sum(row[3] for row in table.rows) == 1000
    assert table.rows[0][4:] == (None, None)
    assert all(low <= confidence <= high for _, low, high, rows, confidence, _ in table.rows if rows)
    assert len(bins_table(report(adjusted=False)).rows) == 15


def test_scalars_have_the_adjusted_beside_the_others():
    result = report()
    names = ["ece", "ace", "classwise_ece", "mce", "brier", "log_loss"]
    assert list(result.scalars()) == [*names, *(f"{name}_calibrated" for name in names)]
    assert result.scalars()["ece_calibrated"] == result.after.ece < result.scalars()["ece"] == result.before.ece
    without = report(adjusted=False).scalars()
    assert without.keys() == result.scalars().keys()  # a monitor wants them in every epoch
    assert without["ece_calibrated"] == without["ece"]


@pytest.mark.parametrize("result", [report(), report(adjusted=False), report(0, adjusted=False)])
def test_the_report_is_plain_data(result):
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(plain["before"]["rows"]) == len(plain["before"]["edges"]) - 1 == 15
    assert plain["kept"] == (plain["after"] is not None)
    assert set(plain["before"]) >= set(FIGURES)
    assert plain["notes"] == list(result.notes)


def test_what_was_fitted_elsewhere_is_said_so():
    first = report()
    frozen = CalibrationReport(first.before, first.after, method="platt", rows=500, total=500, kept=True)
    assert frozen.notes == ("after: adjusted by what was fitted on validation",)
    assert "after: each row is adjusted by a fit to other rows" in first.notes
