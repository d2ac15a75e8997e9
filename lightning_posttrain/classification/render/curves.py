"""ROC and precision-recall curves as pictures and tables."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_posttrain.classification.result.curves import CurveReport
from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDE, Canvas, Color, shorten, width_of
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table

FAINT: Color = (205, 210, 216)
NAMED = len(COLORS)
SIDE, LEGEND = 458, 566
"""Side of the plot, and where the names at its side begin."""
SHOWN = 400
"""Points of a line at most; a screen shows no more."""
WINDOWS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Sides of the corner that is drawn where all curves pass through the half of it that is nearest to the corner."""
FRAME = "all areas are 1: the curves lie on the frame"
PERFECT = 0.99995
"""Areas from which on they are written as 1."""


def roc_image(report: CurveReport, each: tuple[Tensor, Tensor], together: tuple[Tensor, Tensor], title: str) -> Image:
    """Draw ROC curves.

    Args:
        report: the areas.
        each: false and true positive rate of each class ``(K, C)``.
        together: the same of all classes ``(K, 1)``.
        title: stands above, as ``"val"``.
    """
    chance = Line((0.0, 1.0), (0.0, 1.0), PALE, 1.0)
    areas = ("area under it (AUROC)", report.auroc, report.micro[0])
    texts = (f"{title} · ROC curve", "false positive rate", "true positive rate")
    return _image(report, each, together, areas, texts, [chance], best=0.0)


def precision_recall_image(
    report: CurveReport, each: tuple[Tensor, Tensor], together: tuple[Tensor, Tensor], title: str
) -> Image:
    """Draw precision-recall curves, as ``roc_image`` does; of recall and precision."""
    areas = ("average precision (AP)", report.average_precision, report.micro[1])
    texts = (f"{title} · precision-recall curve", "recall", "precision")
    return _image(report, each, together, areas, texts, [], best=1.0)


def is_perfect(areas: Tensor) -> bool:
    """Whether all curves lie on the frame, so that there is nothing to see."""
    known = areas[~areas.isnan()]
    return bool(len(known) and (known >= PERFECT).all())


def _image(
    report: CurveReport,
    each: tuple[Tensor, Tensor],
    together: tuple[Tensor, Tensor],
    areas: tuple[str, Tensor, float],
    texts: tuple[str, str, str],
    behind: list[Line],
    *,
    best: float,
) -> Image:
    short, values, micro = areas
    window = 1.0 if is_perfect(values) else _window(each, best)
    chosen = _lowest(values)
    x, y = (side.numpy() for side in each)
    faint = [Line(*_thinned(x[:, k], y[:, k], window), FAINT, 1.0) for k in _others(values, chosen)]
    named = [Line(*_thinned(x[:, k], y[:, k], window), color, 3.0) for k, color in zip(chosen, COLORS, strict=False)]
    names = report.class_names
    entries = [(color, _named(names[k], float(values[k]))) for k, color in zip(chosen, COLORS, strict=False)]
    if not math.isnan(micro):
        named.append(Line(*_thinned(together[0][:, 0].numpy(), together[1][:, 0].numpy(), window), INK, 4.0))
        entries.insert(0, (INK, f"all together (micro)  {micro:.4f}"))
    if faint:
        others = len(values) - len(chosen)
        drawn = f"{others}" if len(faint) == others else f"{len(faint)} of {others}"
        entries.append((FAINT, f"{drawn} other {'class' if others == 1 else 'classes'}"))
    canvas = Canvas(WIDE[1], WIDE[0])
    part = "" if window == 1 else f", upper {'left' if best == 0 else 'right'} corner"
    canvas.text(12, 10, f"{texts[0]}{part}; beside it: {short}")
    ends = (0.0, window) if best == 0 else (1 - window, 1.0)
    axes = Axes(76, 80, SIDE, SIDE, ends, (1 - window, 1.0))
    axes.draw(canvas, [*behind, *faint, *named], x_label=texts[1], y_label=texts[2])
    legend(canvas, 80, entries, left=LEGEND)
    foot = "; ".join([*([FRAME] if is_perfect(values) else []), *report.notes])
    canvas.text(12, WIDE[1] - 30, shorten(foot, WIDE[0] - 24, 18), size=18, color=PALE)
    return canvas.image()


def _window(each: tuple[Tensor, Tensor], best: float) -> float:
    """Side of the corner in which all curves bend; 1 for the whole, where one does not come near the corner.

    Args:
        each: points of each class, ``(K, C)`` twice.
        best: where the corner lies along the first axis; along the second it is 1.
    """
    x, y = each
    far = torch.maximum((x - best).abs(), 1 - y).nan_to_num(1.0).amin(0)
    known = ~(x.isnan() | y.isnan()).all(0)
    if not bool(known.any()):
        return 1.0
    return next((side for side in WINDOWS if float(far[known].max()) <= side / 2), 1.0)


def _named(name: str, value: float) -> str:
    """An entry of the legend, the name shortened to what there is room for."""
    said = f"  {value:.4f}"
    return shorten(name, WIDE[0] - LEGEND - 48 - width_of(said, 20), 20) + said


def _lowest(values: Tensor) -> list[int]:
    """The classes that are drawn in colour: all where they are few, else those with the smallest areas."""
    defined = [k for k in range(len(values)) if not math.isnan(float(values[k]))]
    if len(defined) <= NAMED:
        return defined
    return sorted(defined, key=lambda k: float(values[k]))[: NAMED // 2]


def _others(values: Tensor, chosen: list[int], limit: int = 100) -> list[int]:
    return [k for k in range(len(values)) if k not in chosen and not math.isnan(float(values[k]))][:limit]


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], side: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points without those that lie where the one before does, and no more than can be seen."""
    moves = np.ones(len(x), dtype=bool)
    points = SHOWN / side
    moves[1:-1] = (np.diff(np.round(x * points))[:-1] != 0) | (np.diff(np.round(y * points))[:-1] != 0)
    return x[moves], y[moves]


def areas_table(report: CurveReport) -> Table:
    """Support and areas of each class."""
    auroc, precision = report.micro
    said = f"All classes together (micro): AUROC {auroc:.4f}, AP {precision:.4f}." if not math.isnan(auroc) else ""
    return Table(("class", "support", "AUROC", "AP"), tuple(report.rows()), note=sentences(said, report.notes))


def points_table(names: tuple[str, ...], thresholds: Tensor, counts: tuple[Tensor, ...]) -> Table:
    """Counts at thresholds, for a program or a plot of one's own.

    Args:
        names: ``C`` names.
        thresholds: ``(K, C)``.
        counts: true positives, false positives, true negatives and false negatives, each ``(K, C)``.
    """
    columns = zip(thresholds.t().tolist(), *(c.long().t().tolist() for c in counts), strict=True)
    rows = ((name, *row) for name, each in zip(names, columns, strict=True) for row in zip(*each, strict=True))
    return Table(("class", "threshold", "TP", "FP", "TN", "FN"), tuple(rows), files_only=True)
