"""Histories of samples as tables, and what was learned and forgotten as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from lightning_posttrain.core.drawing.canvas import WIDTH, Canvas, Color, shorten
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Cleared, Image, Table, Tagged
from lightning_posttrain.hard_examples import group_image
from lightning_posttrain.label_errors.result import LISTED, Events, SampleHistory

PANEL = 230
TOP = 92
STEP = PANEL + 110
LEARNED, FORGOTTEN, WRONG = COLORS[0], COLORS[1], COLORS[3]


def label_errors(result: SampleHistory, *, tag: str, title: str) -> Iterator[Tagged]:
    """The suspects, events over the epochs, all samples.

    Args:
        result: what to show.
        tag: what tags begin with.
        title: stands above, as ``"val"``.
    """
    if result.errors is not None:
        yield Tagged(f"{tag}/suspects", suspects_table(result))
    for group in () if result.gallery is None else result.gallery.groups:
        image = group_image(result.gallery, group, title) if result.gallery and group.examples else None
        yield Tagged(f"{tag}/gallery", Cleared() if image is None else image)
    if len(result.past) > 1:
        yield Tagged(f"{tag}/events", events_image(result.past, title=f"{title} · learned and forgotten"))
    yield Tagged(f"{tag}/samples", history_table(result))


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


def history_table(result: SampleHistory) -> Table:
    """Every sample, the most suspicious first; where suspicion is not known, the largest loss first."""
    errors = result.errors
    order = result.loss.argsort(descending=True, stable=True) if errors is None else errors.order
    columns: dict[str, list[Cell]] = {
        "index": result.index[order].tolist(),
        "label": _names(result, result.label[order]),
        "predicted": _names(result, result.predicted[order]),
        **{name: getattr(result, name)[order].tolist() for name in ("loss", "learned", "forgotten", "wrong", "seen")},
        "label_error_score": [None] * len(order) if errors is None else errors.score[order].tolist(),
        "flagged": [None] * len(order) if errors is None else errors.flagged[order].int().tolist(),
    }
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), files_only=True)


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
