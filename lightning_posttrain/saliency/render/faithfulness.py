"""How faithful attribution methods are, as a table that says how to read it."""

from __future__ import annotations

from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Table
from lightning_posttrain.saliency.result import Faithfulness

READ = {
    "insertion": "insertion: the output as what the map ranks highest is put in first, higher is better",
    "deletion": "deletion: the output as it is taken away first, lower is better",
    "infidelity": "infidelity: how far the map is from foretelling what a change of the input does, "
    "0 is perfect, 1 is as good as nothing",
    "max_sensitivity": "max sensitivity: how much the map changes with a tiny change of the input, smaller is steadier",
    "completeness_gap": "completeness gap: the share of the change of the output that the map leaves out, 0 is best",
    "randomised_weights": "randomised weights: rank correlation with the map of a model with random weights, "
    "near 1 means that the map does not depend on the weights",
    "pointing_game": "pointing game: how often the highest point lies in the object; chance is that of a random point",
    "energy": "energy: the share of the map that lies in the object; chance is the object's share of the picture",
}
KNOWS_NOTHING = ("random", "edge")


def faithfulness_table(result: Faithfulness) -> Table:
    """A row for each method, a column for each measure, and a note on how to read each."""
    measures = _measures(result)
    rows = tuple((_title(result, name), *(row.get(m) for m in measures)) for name, row in result.rows.items())
    said = [text for name, text in READ.items() if name in measures]
    if set(KNOWS_NOTHING) & set(result.rows):
        said.append("random and edge know nothing of the model: a method that does not beat them tells nothing")
    note = sentences(f"Means over {result.samples} samples.", [*said, *result.notes])
    return Table(("method", *(measure.replace("_", " ") for measure in measures)), rows, note=note)


def _measures(result: Faithfulness) -> list[str]:
    """Those with an explanation first, in its order, each followed by those that it begins the name of."""
    there = {measure for row in result.rows.values() for measure in row}
    return sorted(there, key=lambda name: (_place(name), name))


def _place(measure: str) -> int:
    return next((place for place, known in enumerate(READ) if measure.startswith(known)), len(READ))


def _title(result: Faithfulness, name: str) -> str:
    return result.titles.get(name, name)
