"""The confusion matrix as tables."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_posttrain.classification.result.confusion import ConfusedPair, Confusion, LabelConfusion
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Table


def confusion_table(confusion: Confusion) -> Table:
    """A row for each cell that is not zero, whatever the number of classes."""
    names = confusion.class_names
    place, count = confusion.cells
    cells = zip(*place.tolist(), count.tolist(), strict=True)
    listed = tuple((names[actual], names[predicted], found) for actual, predicted, found in cells)
    return Table(("actual", "predicted", "count"), listed, files_only=True)


def pairs_table(confusion: Confusion, pairs: Sequence[ConfusedPair]) -> Table:
    """The most confused ``pairs`` of ``confusion``, and how many rows are wrong at all."""
    place, count = confusion.cells
    wrong, total = int(count[place[0] != place[1]].sum()), int(count.sum())
    note = sentences(f"{wrong} of {total} rows are wrong.", confusion.notes)
    rows = tuple((pair.actual, pair.predicted, pair.count, pair.share) for pair in pairs)
    return Table(("actual", "predicted", "count", "share of actual"), rows, note)


def labels_table(confusion: LabelConfusion) -> Table:
    """For each label how often it was found, missed, predicted where it is not, and rightly not predicted."""
    cells = confusion.counts.flatten(1).tolist()
    rows = ((name, tp, fn, fp, tn) for name, (tn, fp, fn, tp) in zip(confusion.class_names, cells, strict=True))
    note = sentences(f"All labels are right in {confusion.exact} of {confusion.rows} rows.", confusion.notes)
    return Table(("label", "found", "missed", "wrongly predicted", "rightly absent"), tuple(rows), note)
