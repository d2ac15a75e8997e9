"""Labels of a multilabel task: how often each was found, missed, and predicted where it is not."""

from __future__ import annotations

from lightning_posttrain.classification.result.confusion import LabelConfusion
from lightning_posttrain.core.drawing.canvas import PALE, TEXT, WIDTH, Canvas, Color, shorten, width_of
from lightning_posttrain.core.output.artifacts import Image

FOUND: Color = (33, 113, 181)
MISSED: Color = (253, 174, 107)
EXTRA: Color = (230, 85, 13)
ROW = 34
ROOM = 200


def labels_image(confusion: LabelConfusion, *, title: str = "", limit: int = 30) -> Image:
    """A bar for each label, of rows where it is or was predicted; those with the most errors, where they are many.

    Args:
        confusion: what to draw.
        title: stands above, as ``"val"``.
        limit: how many labels at most.
    """
    chosen = _most_errors(confusion, limit)
    cells = confusion.counts[chosen].flatten(1).tolist()
    names = [confusion.class_names[i] for i in chosen]
    canvas = Canvas(96 + ROW * len(chosen) + 78)
    rest = f", {len(chosen)} of {len(confusion.class_names)}, most errors" if limit < len(confusion.class_names) else ""
    canvas.text(12, 10, shorten(f"{title} · labels{rest}" if title else f"labels{rest}", WIDTH - 24))
    left = 24 + min(ROOM, int(max(width_of(name) for name in names)))
    most = max(1, *(tp + fn + fp for _, fp, fn, tp in cells))
    for line, (name, (_, fp, fn, tp)) in enumerate(zip(names, cells, strict=True)):
        y = 60 + line * ROW
        canvas.text(left - 10, y + ROW / 2 - 3, shorten(name, ROOM), anchor="rm")
        _bar(canvas, left, y, (tp, fn, fp), most)
    _legend(canvas, 60 + ROW * len(chosen) + 14, confusion)
    return canvas.image()


def _most_errors(confusion: LabelConfusion, limit: int) -> list[int]:
    errors = confusion.counts[:, 0, 1] + confusion.counts[:, 1, 0]
    chosen: list[int] = errors.sort(descending=True, stable=True).indices[:limit].sort().values.tolist()
    return chosen


def _bar(canvas: Canvas, left: int, y: int, counts: tuple[int, int, int], most: int) -> None:
    room = WIDTH - left - 110
    x = float(left)
    for count, color in zip(counts, (FOUND, MISSED, EXTRA), strict=True):
        width = room * count / most
        if count:
            canvas.box(round(x), y, max(round(x + width) - round(x), 1), ROW - 8, color)
        x += width
    found, missed, _ = counts
    share = f"{found / (found + missed):.0%} found" if found + missed else "not there"
    canvas.text(x + 8, y + ROW / 2 - 4, share, size=18, anchor="lm", color=PALE)


def _legend(canvas: Canvas, y: int, confusion: LabelConfusion) -> None:
    x = 12.0
    for color, text in ((FOUND, "found"), (MISSED, "missed"), (EXTRA, "predicted, not there")):
        canvas.box(round(x), y, 20, 20, color)
        canvas.text(x + 28, y + 10, text, size=20, anchor="lm")
        x += 28 + width_of(text, 20) + 24
    said = [f"all labels right in {confusion.exact} of {confusion.rows} rows", *confusion.notes]
    canvas.text(12, y + 36, shorten("; ".join(said), WIDTH - 24, TEXT - 4), size=TEXT - 4, color=PALE)
