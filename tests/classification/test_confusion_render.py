import numpy as np
import pytest
import torch

from lightning_posttrain.classification.functional.confusion import most_confused
from lightning_posttrain.classification.render import confusion as drawing
from lightning_posttrain.classification.render.confusion import confusion_image
from lightning_posttrain.classification.render.confusion_tables import confusion_table, pairs_table
from lightning_posttrain.classification.result.confusion import Confusion


def matrix(classes, rows=2000, names=None):
    generator = torch.Generator().manual_seed(classes)
    actual = torch.randint(classes, (rows,), generator=generator)
    off = torch.randint(1, classes, (rows,), generator=generator)
    wrong = torch.rand(rows, generator=generator) < 0.2
    predicted = torch.where(wrong, (actual + off) % classes, actual)
    counts = torch.zeros(classes * classes, dtype=torch.int64)
    counts.index_add_(0, actual * classes + predicted, torch.ones_like(actual))
    return Confusion(counts.view(classes, classes), names or tuple(map(str, range(classes))))


class Written:
    """Stands for a canvas, and keeps the texts and boxes."""

    def __init__(self, monkeypatch):
        self.texts, self.boxes = [], []
        text, upright, box = drawing.Canvas.text, drawing.Canvas.upright, drawing.Canvas.box
        monkeypatch.setattr(
            drawing.Canvas, "text", lambda s, x, y, t, **o: self.texts.append(t) or text(s, x, y, t, **o)
        )
        monkeypatch.setattr(
            drawing.Canvas, "upright", lambda s, x, y, t, **o: self.texts.append(t) or upright(s, x, y, t, **o)
        )
        monkeypatch.setattr(drawing.Canvas, "box", lambda s, *a: self.boxes.append(a) or box(s, *a))


@pytest.mark.parametrize("classes", [2, 3, 10, 30, 100, 1000])
@pytest.mark.parametrize("normalized", [False, True])
def test_every_size_is_twice_tensorboards_width_or_four_times_and_hardly_higher_than_wide(classes, normalized):
    pixels = confusion_image(matrix(classes), normalized=normalized).pixels
    assert pixels.dtype == torch.uint8
    assert pixels.shape[1:] == (1400 if 22 < classes <= 100 else 700, 3)
    assert pixels.shape[0] <= 1.2 * pixels.shape[1]


def test_counts_and_names_are_written_once_for_each_cell_that_is_not_empty(monkeypatch):
    written = Written(monkeypatch)
    confusion = Confusion(torch.tensor([[30, 2], [0, 41]]), ("cat", "dog"))
    confusion_image(confusion)
    assert sorted(t for t in written.texts if t.isdigit()) == ["2", "30", "41"]
    assert written.texts.count("cat") == written.texts.count("dog") == 2


def test_shares_are_percent_of_the_row_and_never_round_an_error_away(monkeypatch):
    written = Written(monkeypatch)
    confusion_image(Confusion(torch.tensor([[999, 1], [1, 1]]), ("cat", "dog")), normalized=True)
    assert {">99", ".1", "50"} <= set(written.texts)


def test_no_number_is_written_where_it_could_not_be_read(monkeypatch):
    written = Written(monkeypatch)
    confusion_image(matrix(200))
    assert not [t for t in written.texts if t.isdigit() and int(t) % 10]


def test_right_is_blue_and_errors_are_orange_with_the_share_of_the_row_as_shade():
    confusion = Confusion(torch.tensor([[8, 2], [100, 900]]), ("a", "b"))
    colors = drawing._colors(drawing._shares(confusion)).astype(int)
    for diagonal in (colors[0, 0], colors[1, 1]):
        assert diagonal[2] > diagonal[0]
    for error in (colors[0, 1], colors[1, 0]):
        assert error[0] > error[2]
    assert colors[0, 1].sum() < colors[1, 0].sum()  # 20 % is darker than 10 %, though 2 is less than 100


def test_ink_is_dark_on_light_and_light_on_dark():
    assert drawing.ink_on((250, 240, 230)) == (32, 33, 36)
    assert drawing.ink_on((8, 48, 107)) == (255, 255, 255)


def test_a_class_without_rows_is_drawn_empty():
    colors = drawing._colors(drawing._shares(Confusion(torch.tensor([[0, 0], [0, 5]]), ("a", "b"))))
    assert colors[0, 0].tolist() == colors[0, 1].tolist() == [246, 247, 248]


def test_names_of_any_length_and_script_are_drawn():
    names = ("a name that does not end " * 4, "Ελληνικά", "é|<b>\n", "猫")
    assert confusion_image(matrix(4, names=names)).pixels.shape[1] == 700


def test_tables_hold_the_counts_and_the_pairs():
    confusion = Confusion(torch.tensor([[5, 1], [3, 9]]), ("cat", "dog"), nonfinite=2)
    table = confusion_table(confusion)
    assert table.columns == ("actual", "predicted", "count")
    assert table.rows == (("cat", "cat", 5), ("cat", "dog", 1), ("dog", "cat", 3), ("dog", "dog", 9))
    pairs = pairs_table(confusion, most_confused(confusion))
    assert pairs.rows == (("dog", "cat", 3, 0.25), ("cat", "dog", 1, 1 / 6))
    assert "4 of 18 rows are wrong." in pairs.note
    assert "2 rows left out" in pairs.note


def test_the_picture_of_the_same_matrix_is_the_same():
    first, second = (confusion_image(matrix(10)).pixels.numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("classes", [23, 30, 40, 60])
def test_up_to_sixty_classes_have_their_names_and_counts(classes, monkeypatch):
    written = Written(monkeypatch)
    names = tuple(
        f"{'upper' if k % 2 else 'lower'} half of object number {k // 2} in a long list" for k in range(classes)
    )
    confusion = matrix(classes, names=names)
    confusion_image(confusion)
    labels = [text for text in written.texts if "half" in text]
    assert len(labels) == 2 * classes
    assert len(set(labels)) == classes
    assert sum(text.isdigit() for text in written.texts) == int((confusion.counts > 0).sum())


def test_shares_are_drawn_where_there_is_room_for_them():
    assert drawing.has_numbers(tuple(map(str, range(60))))
    assert not drawing.has_numbers(tuple(map(str, range(100))))
