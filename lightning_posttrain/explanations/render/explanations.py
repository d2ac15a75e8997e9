"""Explanations of a few samples as pictures and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat

from lightning_posttrain.core.drawing.number_format import number, share
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Cleared, Table, Tagged
from lightning_posttrain.explanations.render.importance import importance_image, importance_table
from lightning_posttrain.explanations.render.rules import rules_image
from lightning_posttrain.explanations.render.rules_tables import rules_table, rules_values
from lightning_posttrain.explanations.result.explained import Explained
from lightning_posttrain.samples.render.captions import percent
from lightning_posttrain.samples.render.overview import maps_image

WORDED = ("tabular", "tokens")
"""Inputs whose parts have names of their own; the rules of others are outlined in the picture of the maps."""
KNOWN = ("index", "actual", "predicted", "probability", "explained", "value")


def explanations(found: Explained, *, tag: str, title: str) -> Iterator[Tagged]:
    """All pictures and tables of a result.

    Args:
        found: the result.
        tag: what tags begin with.
        title: stands above, as ``"val"``.
    """
    for part in ("rules", "importance"):  # of a report before, of which there may have been more
        yield Tagged(f"{tag}/{part}", Cleared())
    saliency = found.saliency
    if saliency.samples and (saliency.maps or not found.rules):
        yield Tagged(tag, maps_image(saliency, title=f"{title} · parts hidden" if title else "parts hidden"))
    yield Tagged(f"{tag}/samples", samples_table(found))
    yield Tagged(f"{tag}/samples", samples_values(found))
    if found.values:
        yield Tagged(f"{tag}/values", values_table(found))
    if found.rules:
        pairs = list(zip(saliency.samples, found.rules, strict=True))
        if saliency.kind in WORDED:
            yield Tagged(f"{tag}/rules", rules_image(pairs, found.class_names, title=title))
        yield Tagged(f"{tag}/rules_table", rules_table(pairs, found.class_names))
        yield Tagged(f"{tag}/rules_table", rules_values(pairs, found.class_names))
    if found.importance is not None:
        yield Tagged(f"{tag}/importance", importance_image(found.importance, title=title))
        yield Tagged(f"{tag}/importance_table", importance_table(found.importance))


def samples_table(found: Explained) -> Table:
    """What is known of each sample, and how good its explanations are, for loggers: few digits, percent for shares."""
    said = []
    if found.lime is not None:
        said.append("LIME fit: R² of the local model, 1 is best. LIME spread: how far another seed's weights are off.")
    if found.shap is not None:
        said.append("SHAP base: the mean output without the sample. SHAP gap: what base and values leave out.")
    full = samples_values(found)
    shown = percent if found.unit == "probability" else number
    forms = {
        "probability": percent,
        "value": shown,
        "SHAP base": shown,
        "LIME fit": number,
        "LIME spread": share,
        "SHAP gap": _gap,
    }
    rows = (map(_short, full.columns, row, repeat(forms)) for row in full.rows)
    return Table(
        full.columns, tuple(map(tuple, rows)), note=sentences(" ".join(said), found.notes).strip(), loggers_only=True
    )


def _gap(value: float) -> str:
    return number(value, 2) if abs(value) >= 1e-6 else "<1e-6"


def _short(column: str, value: Cell, forms: Mapping[str, Callable[[float], str]]) -> Cell:
    return forms.get(column, number)(value) if isinstance(value, float) and math.isfinite(value) else value


def samples_values(found: Explained) -> Table:
    """The same in full, for files."""
    figures: dict[str, list[float]] = {}
    if found.lime is not None:
        figures |= {"LIME fit": found.lime.fit.tolist(), "LIME spread": found.lime.spread.tolist()}
    if found.shap is not None:
        figures |= {"SHAP base": found.shap.base.tolist(), "SHAP gap": found.shap.gap.tolist()}
    rows = []
    for k, sample in enumerate(found.saliency.samples):
        known: tuple[Cell, ...] = tuple(getattr(sample, column) for column in KNOWN)
        rows.append((*known, *(values[k] for values in figures.values())))
    return Table((*KNOWN, *figures), tuple(rows), files_only=True)


def values_table(found: Explained) -> Table:
    """The value of each part of each sample by each method, and its standard error, for files."""
    errors = {"lime": found.lime, "shap": found.shap}
    columns, rows = [], []
    for method in found.values:
        columns += [method, *([f"{method}_error"] if errors.get(method) is not None else [])]
    for k, sample in enumerate(found.saliency.samples):
        for m, name in enumerate(found.parts[k]):
            cells: list[Cell] = []
            for method, values in found.values.items():
                cells.append(float(values[k, m]))
                fit = errors.get(method)
                cells += [] if fit is None else [float(fit.errors[k, m])]
            if name:
                rows.append((sample.index, sample.explained, name, *cells))
    return Table(("index", "explained", "part", *columns), tuple(rows), files_only=True)
