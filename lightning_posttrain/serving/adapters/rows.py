"""One row of a request, and the answers of rows that wait together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_posttrain.export import Manifest, Predictor
from lightning_posttrain.serving.answering import Row
from lightning_posttrain.serving.answers import answer
from lightning_posttrain.serving.body import question
from lightning_posttrain.serving.refusal import RefusedError


def row_of(body: bytes, manifest: Manifest) -> Row:
    """The one row of a body: JSON, ``.npy``, PNG or JPEG.

    Args:
        body: as of ``/predict``.
        manifest: of the model.

    Raises:
        RefusedError: it is none that can be answered, with the reason.

    Example:
        >>> from lightning_posttrain.export import Decision, Signature, TensorSpec
        >>> signature = Signature((TensorSpec("x", "float32", (None, 2)),), ())
        >>> manifest = Manifest("Net", "", {}, signature, Decision("binary", ("no", "yes")))
        >>> row_of(b'{"row": [1, 2]}', manifest)
        {'x': array([1., 2.], dtype=float32)}
    """
    (row,) = question(body, manifest, most_rows=1).rows
    if isinstance(row, str):
        raise RefusedError(422, row)
    return row


def answers_of(predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Answers of rows that wait together, in their order; rows of equal shapes go through the model together.

    Args:
        predictor: as ``export.load`` gives.
        rows: of ``row_of``.

    Returns:
        Of each row what ``/predict`` gives for it.
    """
    together: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, row in enumerate(rows):
        together.setdefault(tuple(array.shape for array in row.values()), []).append(place)
    answers: dict[int, dict[str, Any]] = {}
    for places in together.values():
        found = predictor({name: np.stack([rows[place][name] for place in places]) for name in rows[places[0]]})
        for place, probabilities, chosen in zip(places, found.probabilities, found.decision, strict=True):
            answers[place] = answer(predictor.decision, probabilities, chosen)
    return [answers[place] for place in range(len(rows))]
