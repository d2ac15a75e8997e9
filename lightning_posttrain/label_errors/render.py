"""Histories of samples as tables, and what was learned and forgotten as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_posttrain.core.drawing.canvas import WIDTH, Canvas, Color, shorten
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Cleared, File, Image, Table, Tagged
from lightning_posttrain.hard_examples import group_image
from lightning_posttrain.label_errors.result import LISTED, Events, SampleHistory

PANEL = 230
TOP = 92
STEP = PANEL + 110
AT_ONCE = 1 << 16
"""Samples that are brought to text at once."""
LEARNED, FORGOTTEN, WRONG = COLORS[0], COLORS[1], COLORS[3]


def label_errors(result: SampleHistory, *, tag: str, title: str, samples: bool = True) -> Iterator[Tagged]:
    """The suspects, events over the epochs, all samples.

    Args:
        result: what to show.
        tag: what tags begin with.
        title: stands above, as ``"val"``.
        samples: whether the file of all samples is among them, some 60 bytes for each.
    """
    if result.errors is not None:
        yield Tagged(f"{tag}/suspects", suspects_table(result))
    for group in () if result.gallery is None else result.gallery.groups:
        image = group_image(result.gallery, group, title) if result.gallery and group.examples else None
        yield Tagged(f"{tag}/gallery", Cleared() if image is None else image)
    if len(result.past) > 1:
        yield Tagged(f"{tag}/events", events_image(result.past, title=f"{title} · learned and forgotten"))
    if samples:
        yield Tagged(f"{tag}/samples", samples_file(result))


def suspects_table(result: SampleHistory) -> Table:
    """The probable label errors, the most probable first, at most 50."""
    rows = result.suspects[:LISTED]
    shown: tuple[tuple[Cell, ...], ...] = ()
    if result.errors is not None:
        columns = (
            result.index[rows].tolist(),
            _names(result, result.label[rows]),
            _names(result, result.errors.suggested[rows]),
            result.errors.score[rows].tolist(),
            result.loss[rows].tolist(),
        )
        shown = tuple(zip(*columns, strict=True))
    more = len(result.suspects) - len(shown)
    rest = [f"{more} more stand in the table of all samples"] if more else []
    first = (
        "Index is the position in the dataset. Where the score is near 0 the model is sure of the class it suggests."
    )
    said = sentences(first, rest)
    return Table(("index", "label", "suggested", "score", "loss"), shown, note=sentences(said, result.notes))


def samples_file(result: SampleHistory) -> File:
    """Every sample as CSV, the most suspicious first; where suspicion is not known, the largest loss first.

    What was learned and forgotten is left out where there was one pass.
    """
    errors = result.errors
    order = result.loss.argsort(descending=True, stable=True) if errors is None else errors.order
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for rows in torch.split(order, AT_ONCE):
        columns = _columns(result, rows)
        if not text.tell():
            writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return File(text.getvalue().encode(errors="backslashreplace"), ".csv")


def _columns(result: SampleHistory, rows: Tensor) -> dict[str, list[Cell]]:
    """Some samples, by column."""
    errors, passes = result.errors, () if result.events is None else ("learned", "forgotten")
    return {
        "index": result.index[rows].tolist(),
        "label": _names(result, result.label[rows]),
        "predicted": _names(result, result.predicted[rows]),
        **{name: getattr(result, name)[rows].tolist() for name in ("loss", *passes, "wrong", "seen")},
        "label_error_score": [None] * len(rows) if errors is None else errors.score[rows].tolist(),
        "flagged": [None] * len(rows) if errors is None else errors.flagged[rows].int().tolist(),
    }


def _names(result: SampleHistory, classes: Tensor) -> list[Cell]:
    return [result.class_names[k] for k in classes.tolist()]


def events_image(events: Sequence[Events], *, title: str = "learned and forgotten") -> Image:
    """Draw over epochs how many samples were learned and forgotten, and how many had never been right.

    Args:
        events: of each epoch, oldest first.
        title: stands above.
    """
    canvas = Canvas(TOP + 2 * STEP + 78)
    canvas.text(12, 10, shorten(title, WIDTH - 24))
    learned, forgotten, wrong = ([float(each[k]) for each in events] for k in (1, 2, 3))
    epochs = [float(each.epoch) for each in events]
    _panel(
        canvas, TOP, "samples learned and forgotten in the epoch", epochs, [(learned, LEARNED), (forgotten, FORGOTTEN)]
    )
    _panel(canvas, TOP + STEP, "samples never right so far", epochs, [(wrong, WRONG)])
    last = events[-1] if events else None
    entries = (
        (LEARNED, "learned: wrong before, right now", last and last.learned),
        (FORGOTTEN, "forgotten: right before, wrong now", last and last.forgotten),
        (WRONG, "never right so far", last and last.always_wrong),
    )
    legend(canvas, TOP + 2 * STEP - 22, [(color, _counted(text, count)) for color, text, count in entries])
    return canvas.image()


def _counted(text: str, count: int | None) -> str:
    return text if count is None else f"{text}; last: {count:,}"


def _panel(canvas: Canvas, top: int, label: str, epochs: list[float], lines: list[tuple[list[float], Color]]) -> None:
    first, last = (epochs[0], epochs[-1]) if epochs else (0.0, 1.0)
    aside = 0.02 * (last - first) or 0.5
    # from 5 on, ticks of counts are whole numbers
    highest = max([5.0, *(value for values, _ in lines for value in values)])
    axes = Axes(
        92, top, WIDTH - 116, PANEL, (first - aside, last + aside), (-0.04 * highest, 1.06 * highest), whole=True
    )
    drawn = [Line(epochs, values, color, 4.0, dots=len(epochs) <= 30) for values, color in lines]
    axes.draw(canvas, drawn, x_label="epoch" if epochs else "no epoch has ended yet", y_label=label)
