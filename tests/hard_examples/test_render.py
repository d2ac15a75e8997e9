from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_posttrain.core.drawing.canvas import INK, WIDTH, Canvas, width_of
from lightning_posttrain.core.output.artifacts import Cleared
from lightning_posttrain.hard_examples.render.galleries import cells_image, group_image, pictures
from lightning_posttrain.hard_examples.render.report import hard_examples
from lightning_posttrain.hard_examples.render.tables import all_table, group_table
from lightning_posttrain.hard_examples.result import HardExample, HardGroup, HardReport
from lightning_posttrain.samples.render.gallery import cell_width
from lightning_posttrain.samples.render.sheet import RIGHT, WRONG

CONFUSED = HardExample(1234, "cat", "dog", 0.9871, 4.345)
LONG = "a name that goes on and on, longer than any picture is wide, and then on"


def examples(count, **changes):
    return tuple(replace(CONFUSED, **{"index": i, **changes}) for i in range(count))


def group_of(count=3, shape=(8, 8, 3), *, name="highest_loss", title="highest loss", **changes):
    shown = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    return HardGroup(name, title, examples(count, **changes), shown)


def report_of(*groups, kind="image", **more):
    return HardReport(groups, kind=kind, rows=50, **more)


def draw(group, kind="image", title="val", **more):
    return group_image(report_of(group, kind=kind, **more), group, title)


@pytest.fixture
def pasted(monkeypatch):
    """Left edge, top edge and pixels of what is placed on any canvas."""
    found = []
    paste = Canvas.paste
    monkeypatch.setattr(
        Canvas, "paste", lambda canvas, x, y, pixels: found.append((x, y, pixels)) or paste(canvas, x, y, pixels)
    )
    return found


@pytest.fixture
def inside(monkeypatch):
    """Fails where a text begins or ends outside of its canvas."""
    write = Canvas.text

    def text(canvas, x, y, said, **options):
        width = width_of(said, options.get("size", 22))
        left = x - width if options.get("anchor", "la")[0] == "r" else x
        assert left >= 0, said
        assert left + width <= canvas.pixels().shape[1], said
        write(canvas, x, y, said, **options)

    monkeypatch.setattr(Canvas, "text", text)


def said(written):
    return [text for text, _ in written]


def lines_of(written):
    """What stands below samples: the texts between the heading and the foot."""
    return [text for text in said(written)[2:-1] if text]


def test_a_wrong_sample_has_its_classes_position_probability_and_loss(written):
    draw(HardGroup("x", "highest loss", (CONFUSED,), torch.rand(1, 8, 8, 3)))
    assert said(written)[0] == "val · highest loss"
    assert lines_of(written) == ["cat", "→", "dog", "#1234 · 98.7% · loss 4.3"]
    colors = {text: options.get("color", INK) for text, options in written}
    assert colors["cat"] == INK
    assert colors["dog"] == WRONG


def test_a_right_sample_has_its_class_once_and_in_green(written):
    draw(group_of(2, predicted="cat"))
    assert said(written).count("cat") == 2
    assert "→" not in said(written)
    assert all(options["color"] == RIGHT for text, options in written if text == "cat")


def test_the_colours_that_are_there_are_explained_below(written):
    draw(group_of(2))
    draw(group_of(2, predicted="cat"))
    wrong, right = [text for text in said(written) if "percentage" in text]
    assert "Actual → predicted." in wrong
    assert "Green" not in wrong
    assert "Green: predicted right." in right
    assert "→" not in right


def test_without_positions_there_is_no_number_sign(written):
    draw(group_of(3, index=None))
    assert not any("#" in text for text in said(written))
    assert said(written).count("98.7% · loss 4.3") == 3


def test_a_position_that_one_sample_lacks_is_left_out_of_that_one(written):
    group = group_of(4)
    draw(replace(group, examples=(replace(CONFUSED, index=None), *group.examples[1:])))
    assert [text for text in said(written) if text.startswith("#")] == ["#1", "#2", "#3"]


def test_figures_that_are_not_known_are_left_out(written):
    draw(group_of(3, probability=float("nan"), loss=float("nan")))
    assert not any("nan" in text or "loss " in text for text in lines_of(written))


@pytest.mark.parametrize(
    ("loss", "text"),
    [(0.0, "loss 0"), (0.0213, "loss 0.021"), (5.0, "loss 5.0"), (9.949, "loss 9.9"), (9.96, "loss 10"),
     (12.34, "loss 12"), (float("inf"), "loss inf")],
)  # fmt: skip
def test_a_loss_has_two_digits(loss, text, written):
    draw(group_of(1, loss=loss))
    assert lines_of(written)[-1].endswith(f" {text}")


def test_a_row_without_labels_says_none(written):
    draw(group_of(1, actual="", predicted="cat, dog"))
    assert {"none", "cat, dog"} <= set(said(written))


@pytest.mark.parametrize(
    ("count", "height", "width", "across"),
    [(1, 8, 8, 2), (3, 8, 8, 3), (5, 8, 8, 5), (8, 8, 8, 4), (10, 28, 28, 5), (40, 8, 8, 5), (8, 224, 336, 4),
     (6, 200, 400, 3), (6, 10, 40, 2), (3, 1, 1000, 1), (10, 1000, 1, 5), (5, 1, 1, 5)],
)  # fmt: skip
def test_so_many_images_stand_in_a_line_as_their_shape_allows(count, height, width, across, pasted, inside):
    image = draw(group_of(count, (height, width, 3)))
    assert image.pixels.dtype == torch.uint8
    assert image.pixels.shape[1:] == (WIDTH, 3)
    assert len(pasted) == count
    assert len({x for x, _, _ in pasted}) == min(across, count)
    assert {pixels.shape[1] for _, _, pixels in pasted} == {cell_width(across)}


def test_long_names_make_fewer_and_wider_cells_and_fit(pasted, inside):
    draw(group_of(5, actual=LONG, predicted=LONG[::-1]))
    assert len({x for x, _, _ in pasted}) == 3


@pytest.mark.parametrize("kind", ["image", "series"])
@pytest.mark.parametrize("name", [LONG, "x" * 200, "猫" * 60, "two\nlines", "\x00", "ﷺ" * 9])
def test_any_name_fits(kind, name, inside):
    shape = (8, 8, 3) if kind == "image" else (2, 40)
    group = group_of(10, shape, actual=name, predicted=name + "!", title=name, index=10**12, loss=1e30)
    report = report_of(group, kind=kind, cells=(group,))
    assert group_image(report, group, "val") is not None
    assert cells_image(report, "val") is not None


def test_the_pixels_of_a_small_image_are_those_of_the_sample(pasted):
    shown = torch.randint(256, (1, 8, 8, 3), dtype=torch.uint8)
    draw(HardGroup("x", "x", examples(1), shown / 255))
    ((_, _, cell),) = pasted
    side = cell.shape[0] / 8
    centres = [int((i + 0.5) * side) for i in range(8)]
    np.testing.assert_array_equal(cell[np.ix_(centres, centres)], shown[0].numpy())


def test_samples_stand_in_order(pasted):
    shown = (torch.arange(7) / 255).view(7, 1, 1, 1).expand(7, 8, 8, 3)
    draw(HardGroup("x", "x", examples(7), shown))
    levels = [int(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, 0]) for _, _, pixels in pasted]
    assert levels == list(range(7))


def test_only_large_images_are_photographs():
    assert draw(group_of(2, (224, 224, 3))).photo
    assert not draw(group_of(2, (28, 28, 3))).photo
    assert not draw(group_of(2, (224, 224, 3)), kind="spectrogram").photo


def test_values_that_are_not_numbers_are_drawn():
    shown = torch.rand(3, 8, 8, 3)
    shown[0], shown[1, 0], shown[2] = torch.nan, torch.inf, -5.0
    group = HardGroup("x", "x", examples(3), shown)
    assert draw(group) is not None
    assert len(list(pictures(report_of(group)))) == 3


def test_thin_images_are_said_to_be_stretched(written):
    draw(group_of(2, (1, 1000, 3)))
    assert "stretched" in " ".join(said(written))


def test_a_spectrogram_has_its_low_frequencies_at_the_bottom(written, pasted):
    shown = torch.zeros(1, 16, 32, 3)
    shown[:, :4] = 1
    group = HardGroup("x", "x", examples(1), shown)
    draw(group, kind="spectrogram")
    ((_, _, cell),) = pasted
    assert cell[-8:-2, 2:-2].min() > 250
    assert cell[2:8, 2:-2].max() < 10
    assert any("frequency ↑" in text for text in said(written))
    ((_, picture),) = pictures(report_of(group, kind="spectrogram"))
    assert picture.pixels[-1].min() == 255
    assert picture.pixels[0].max() == 0


@pytest.mark.parametrize("channels", [1, 2, 40])
@pytest.mark.parametrize("length", [1, 50, 5000])
def test_series_are_lines_two_in_a_row(channels, length, pasted, written, inside):
    image = draw(group_of(4, (channels, length)), kind="series")
    assert image.pixels.shape[1:] == (WIDTH, 3)
    assert len({x for x, _, _ in pasted}) == 2
    assert all(pixels.min() < 150 for _, _, pixels in pasted)
    assert any(f"{length} steps." in text for text in said(written))
    assert ("channel 1" in said(written)) == (channels > 1)


def test_channels_have_their_names_and_broken_signals_are_drawn(written):
    group = group_of(2, (2, 30))
    group.shown[0, 0, 5:9], group.shown[1] = torch.nan, torch.nan
    draw(group, kind="series", names=("left", "right"))
    assert {"left", "right"} <= set(said(written))


@pytest.mark.parametrize("kind", ["image", "spectrogram", "series", "tabular"])
def test_of_no_samples_there_is_neither_a_picture_nor_a_table(kind):
    group = HardGroup("most_confident_errors", "most confident errors", ())
    report = report_of(group, kind=kind)
    assert group_image(report, group, "val") is None
    drawn = {one.tag for one in hard_examples(report, tag="h", title="val") if not isinstance(one.artifact, Cleared)}
    assert drawn == {"h"}


@pytest.mark.parametrize(
    ("kind", "shown"), [("tabular", torch.rand(3, 5)), ("tokens", None), (None, None), ("image", None)]
)
def test_what_cannot_be_drawn_has_no_picture(kind, shown):
    group = HardGroup("highest_loss", "highest loss", examples(3), shown)
    report = report_of(group, kind=kind, cells=(group,))
    assert group_image(report, group, "val") is None
    assert cells_image(report, "val") is None
    assert not list(pictures(report))


def cells():
    titles = ("cat taken for dog, 12 times", "dog taken for cat, 1 time")
    return tuple(
        group_of(count, name=title[:3], title=title) for title, count in zip(titles, (4, 1), strict=True)
    )  # fmt: skip


def test_every_confused_pair_has_a_heading_and_its_samples(written, pasted, inside):
    image = cells_image(report_of(cells=cells()), "val")
    assert image.pixels.shape[1:] == (WIDTH, 3)
    heads = [text for text in said(written) if "taken" in text]
    assert heads == ["cat taken for dog, 12 times", "dog taken for cat, 1 time"]
    assert said(written)[0] == "val · most confused pairs"
    assert len(pasted) == 5
    assert {pixels.shape for _, _, pixels in pasted} == {(cell_width(4), cell_width(4), 3)}


def test_the_classes_of_a_pair_are_not_said_again(written):
    cells_image(report_of(cells=cells()))
    assert not {"cat", "dog", "→"} & set(said(written))
    assert "#0" in said(written)


def test_a_long_heading_of_a_pair_keeps_its_count(written):
    names = "golden retriever", "Staffordshire bull terrier, Staffy"
    cells_image(report_of(cells=(group_of(title=f"{names[0]} taken for {names[1]}, 1203 times"),)))
    assert any("1203 times" in text for text in said(written))


def test_pairs_without_pictures_are_left_out(written):
    cells_image(report_of(cells=(*cells(), HardGroup("x", "owl taken for cat, 2 times", examples(2)))))
    assert not any("owl" in text for text in said(written))
    assert cells_image(report_of()) is None
    assert cells_image(report_of(cells=(HardGroup("x", "x", ()),))) is None


def test_pairs_may_have_pictures_of_different_sizes():
    assert cells_image(report_of(cells=(group_of(2), group_of(3, (20, 200, 3)), group_of(1, (300, 9, 3)))))


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(1, 1, 64), (8, 8, 8), (28, 28, 3), (63, 64, 2), (64, 64, 1), (224, 300, 1), (1, 1000, 1), (8, 40, 8),
     (20, 200, 4), (1000, 1000, 1), (2000, 3, 1)],
)  # fmt: skip
def test_a_picture_by_itself_is_enlarged_by_a_whole_factor_and_never_reduced(height, width, factor):
    shown = torch.randint(256, (2, height, width, 3), dtype=torch.uint8)
    found = list(pictures(report_of(HardGroup("highest_loss", "x", examples(2), shown / 255))))
    assert [name for name, _ in found] == ["highest_loss/01", "highest_loss/02"]
    for (_, image), sample in zip(found, shown, strict=True):
        expected = sample.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        assert torch.equal(image.pixels, expected)
        assert image.files_only
        assert image.photo == (height * width > 64 * 64)


def test_pictures_are_of_groups_and_of_confused_pairs():
    report = report_of(group_of(2), HardGroup("none", "none", ()), cells=cells())
    assert [name for name, _ in pictures(report)] == [
        "highest_loss/01", "highest_loss/02", "cells/cat/01", "cells/cat/02", "cells/cat/03", "cells/cat/04",
        "cells/dog/01",
    ]  # fmt: skip


def test_the_table_of_a_group_has_a_row_for_each_sample():
    group = group_of(2, index=None)
    table = group_table(report_of(group, undrawn="inputs are graphs"), group)
    assert table.columns == ("rank", "index", "actual", "predicted", "probability", "loss")
    assert table.rows == tuple((rank, None, "cat", "dog", 0.9871, 4.345) for rank in (1, 2))
    assert table.note == "Highest loss: 2 of 50 rows. Inputs are graphs."
    assert not table.files_only


def test_the_values_of_tabular_rows_stand_in_the_file_of_all_by_name():
    names = tuple(f"f{i}" for i in range(30))
    group = group_of(3, (30,))
    report = report_of(group, kind="tabular", names=names)
    table = all_table(report)
    assert table.columns[-30:] == names
    assert table.rows[1][-30:] == pytest.approx(group.shown[1].tolist())
    shown = group_table(report, group)
    assert len(shown.columns) == 6
    assert "Their values stand in the CSV file of all." in shown.note


def test_values_of_a_row_are_as_they_were_given():
    group = HardGroup("x", "x", examples(1), torch.tensor([[0.1, float("nan"), 1e30]]))
    (row,) = all_table(report_of(group, kind="tabular")).rows
    assert row[-3:] == pytest.approx((0.1, float("nan"), 1e30), rel=1e-15, nan_ok=True)


def test_tables_without_samples_keep_their_columns():
    group, other = HardGroup("x", "x", ()), group_of(2, (3,))
    report = report_of(group, other, kind="tabular")
    assert group_table(report, group).columns == group_table(report, other).columns
    assert all_table(report).columns[-3:] == ("feature 0", "feature 1", "feature 2")
    assert group_table(report, group).rows == ()
    assert all_table(report_of()).rows == ()


def test_the_table_of_tokens_has_the_beginning_of_the_text_and_the_file_all_of_it():
    text = "a word\n" * 100
    group = HardGroup("x", "x", (replace(CONFUSED, text=text), CONFUSED))
    report = report_of(group, kind="tokens")
    table = group_table(report, group)
    assert table.columns[-1] == "text"
    assert len(table.rows[0][-1]) <= 200
    assert table.rows[0][-1].startswith("a word a word")
    assert table.rows[0][-1].endswith("…")
    assert table.rows[1][-1] is None
    assert [row[-1] for row in all_table(report).rows] == [text, None]


def test_the_table_for_files_has_every_sample_with_all_its_values():
    groups, pair = (group_of(2, (30,)), group_of(1, (30,), name="hits")), group_of(2, (30,), name="cat-dog")
    bare = HardGroup("bare", "bare", examples(1))
    report = HardReport((*groups, bare), (pair,), "tabular")
    table = all_table(report)
    assert table.files_only
    assert table.columns[:3] == ("group", "rank", "index")
    assert [row[:2] for row in table.rows] == [(name, rank) for name, rank, _ in report.every()]
    assert table.rows[-1][7:] == pytest.approx(pair.shown[1].tolist())
    assert table.rows[3][7:] == (None,) * 30
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_long_names_stand_in_two_lines_and_stay_apart(written):
    sides = ("left", "right")
    names = [f"motorcycle in a garage ({side} camera), {half} half" for side in sides for half in ("upper", "lower")]
    pairs = [(actual, predicted) for actual in names for predicted in names if actual != predicted]
    examples = tuple(replace(CONFUSED, actual=actual, predicted=predicted) for actual, predicted in pairs)
    draw(HardGroup("highest_loss", "highest loss", examples, torch.rand(len(pairs), 32, 32, 3)))
    texts = " ".join(lines_of(written)).split("#1234")
    shown = [tuple(" ".join(part.split()[:12]) for part in text.split("→")) for text in texts[:-1]]
    for (actual, predicted), (first, second) in zip(pairs, shown, strict=True):
        for name, text in ((actual, first), (predicted, second)):
            assert all((word in text) == (word in name) for word in ("left", "right", "upper", "lower"))


def test_short_names_are_not_cut_five_across(written):
    names = ["astronaut", "camera", "coffee cup", "motorcycle"]
    examples = tuple(replace(CONFUSED, actual=a, predicted=b) for a in names for b in names if a != b)
    draw(HardGroup("highest_loss", "highest loss", examples, torch.rand(len(examples), 32, 32, 3)))
    assert not any("…" in text for text in lines_of(written))
