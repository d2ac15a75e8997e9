"""The picture and the tables of a report, by what stands in them."""

from dataclasses import replace

import numpy as np
import pytest

from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.export.parity.counts import EDGES
from lightning_posttrain.export.render import parity as render_parity
from lightning_posttrain.export.render.parity import (
    BAR,
    KEPT,
    LEFT,
    REFUSED,
    ROOM,
    STEP,
    TOP,
    export_artifacts,
    parity_image,
    place,
    size_words,
)
from lightning_posttrain.export.render.tables import formats_table, latency_table, metrics_table
from lightning_posttrain.export.result import ExportReport
from tests.export.parity.test_result import INT8, ONNX, REPORT, WEIGHTS
from tests.export.parity.test_result import REFUSED as REFUSED_FORMAT

SPREAD = tuple(10 if number in (3, 4) else 0 for number in range(len(EDGES) + 1))
DRAWN = replace(ONNX, spread=SPREAD, largest=5e-8)


def pixels_of(*formats, title="test", **more):
    return np.asarray(parity_image(ExportReport("export", formats=formats, **more), title).pixels)


def has(pixels, color):
    return bool((pixels == np.array(color)).all(2).any())


def strip(pixels, number=0):
    middle = TOP + STEP * number + STEP // 2 - 6
    return pixels[middle - BAR // 2 - 6 : middle + BAR // 2 + 6, LEFT : LEFT + ROOM]


def test_the_line_of_what_is_allowed_stands_where_its_value_is():
    dark = (strip(pixels_of(DRAWN)) == np.array(render_parity.INK)).all(2).all(0)
    assert np.flatnonzero(dark).mean() == pytest.approx(place(1e-4) - LEFT)
    assert not (strip(pixels_of(replace(DRAWN, tolerance=np.inf))) == np.array(render_parity.INK)).all(2).any()


def test_the_square_stands_at_the_largest_difference():
    marked = (strip(pixels_of(DRAWN)) == np.array(KEPT)).all(2).any(0)
    assert np.flatnonzero(marked).mean() == pytest.approx(place(5e-8) - LEFT, abs=1)


def test_a_scale_of_powers_of_ten_has_a_place_of_its_own_for_nothing():
    assert place(0.0) == place(1e-12) == LEFT + 12
    steps = np.diff([place(10.0**power) for power in range(-9, 1)])
    assert set(steps) == {24}
    assert place(1.0) == place(3.0) == LEFT + ROOM


@pytest.mark.parametrize("number", range(len(EDGES) + 1))
def test_rows_of_any_size_of_difference_are_shaded(number):
    spread = tuple(int(place == number) for place in range(len(EDGES) + 1))
    drawn = strip(pixels_of(replace(DRAWN, spread=spread, largest=np.nan, tolerance=np.inf)))
    shaded = np.flatnonzero((drawn[len(drawn) // 2] != 255).any(1) & (drawn[len(drawn) // 2] != (244, 245, 247)).any(1))
    low, high = ([0.0, *EDGES][number], [*EDGES, 1.0][number])
    assert shaded[0] == (place(low) - LEFT if number else 0)
    assert shaded[-1] == place(high) - LEFT - 1


def test_refused_formats_are_in_another_colour_with_their_reason():
    kept, refused = pixels_of(DRAWN), pixels_of(replace(DRAWN, kept=False, reason="it drops units"))
    assert has(kept, KEPT)
    assert not has(kept, REFUSED)
    assert has(refused, REFUSED)
    assert not has(refused, KEPT)
    assert len(refused) > len(kept)


LONG = "a probability differs by 0.27, above 0.0001. The first layer apart is `a.very.long.name.of.a.layer` " * 5


@pytest.mark.parametrize("number", [0, 1, 5])
@pytest.mark.parametrize("reason", ["short", LONG])
@pytest.mark.parametrize("file", ["model.onnx", "a_very_long_name_of_a_file_that_nobody_would_choose.onnx"])
def test_any_report_is_drawn_in_the_width_of_a_page(number, reason, file):
    one = replace(DRAWN, files=(file, file), kept=False, reason=reason, bytes=10**12, flips=123456)
    pixels = pixels_of(*[one] * number, title="a long title of a stage" * 5, weights=LONG, left_out=(LONG,))
    assert pixels.shape[1] == 700
    assert (pixels[:, -4:] == 255).all()
    assert (pixels[-6:] == 255).all()


def test_a_name_that_is_long_does_not_reach_the_scale():
    long = pixels_of(replace(DRAWN, files=("a_very_long_name_of_a_file_that_nobody_would_choose.onnx",)))
    assert (long[TOP : TOP + STEP, LEFT - 16 : LEFT] == 255).all()


@pytest.mark.parametrize("flips", [0, 9_994, 9_996, 123_456, 9_994_999, 10**9])
def test_a_number_of_flips_does_not_reach_the_scale(flips):
    drawn = pixels_of(replace(DRAWN, flips=flips, largest=1.0))
    assert (drawn[TOP : TOP + STEP, LEFT + ROOM + 7 : LEFT + ROOM + 12] == 255).all()


def test_every_format_is_a_row_of_the_table():
    table = formats_table(REPORT)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["onnx", "int8", "pt2", "safetensors"]
    assert rows["onnx"]["eager, ms"] == pytest.approx(0.1)
    assert rows["onnx"]["exported, ms"] == pytest.approx(0.02)
    assert (rows["int8"]["flips"], rows["int8"]["allowed"]) == (1, None)
    assert (rows["pt2"]["kept"], rows["pt2"]["reason"]) == ("no", REFUSED_FORMAT.reason)
    assert (rows["safetensors"]["flips"], rows["safetensors"]["largest difference"]) == (None, None)
    assert table.note == f"{REPORT.words}. Latency is the median of 200 calls with a batch of 1, on 1 thread."


def test_figures_of_each_format_stand_beside_those_of_the_tested_model():
    table = metrics_table(
        ExportReport("export", formats=(ONNX, replace(INT8, metrics={"accuracy": (0.95, 0.9)}), WEIGHTS))
    )
    assert table.columns == ("figure", "eager", "onnx", "int8")
    assert table.rows == (("accuracy", 0.95, 0.95, 0.9), ("auroc", None, None, None))
    assert table.note == "Of 397 rows of test."


def test_latency_has_a_row_for_each_batch_size():
    table = latency_table(ExportReport("export", formats=(ONNX,)))
    assert [row[:2] for row in table.rows] == [("onnx", 1), ("onnx", 64)]
    assert table.rows[1][2:] == pytest.approx((6.4, 6.4, 1.28, 1.28, 200, 1))


def test_artifacts_are_those_that_have_something_to_show():
    tags = {one.tag: type(one.artifact) for one in export_artifacts(REPORT, tag="export", title="test")}
    assert tags == {
        "export/parity": Image, "export/formats": Table, "export/metrics": Table, "export/latency": Table,
    }  # fmt: skip
    bare = ExportReport("export", formats=(WEIGHTS,))
    assert [one.tag for one in export_artifacts(bare, tag="export", title="")] == ["export/parity", "export/formats"]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_600, "100 kB"), (999_600, "1.0 MB"), (2.5e9, "2.5 GB")],
)
def test_sizes_are_written_as_people_do(size, words):
    assert size_words(int(size)) == words
