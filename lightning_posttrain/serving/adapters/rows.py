"""One row of a request as the model takes it, and the answers of rows that wait together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.export import Signature

Row = dict[str, NDArray[Any]]
"""A batch of one row, by input."""


class Answers(Protocol):
    """What a predictor gives."""

    @property
    def labels(self) -> Sequence[Any] | None:
        """By row; None where a row has an answer at each of many positions."""
        ...

    @property
    def probabilities(self) -> NDArray[Any]:
        """By row."""
        ...

    @property
    def decision(self) -> NDArray[Any]:
        """By row."""
        ...


class Predicting(Protocol):
    """What ``export.load`` gives."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        ...

    def __call__(self, rows: Mapping[str, NDArray[Any]], /) -> Answers:
        """Answers of a batch."""
        ...


def row_of(body: bytes, signature: Signature) -> Row:
    """The row of a body ``{"row": …}``: an array of one input, or an object of arrays by the name of each.

    Args:
        body: JSON.
        signature: of the model.

    Raises:
        ValueError: it is something else, with the reason.

    Example:
        >>> from lightning_posttrain.export import TensorSpec
        >>> row_of(b'{"row": [1, 2]}', Signature((TensorSpec("x", "float32", (None, 2)),), ()))
        {'x': array([[1., 2.]], dtype=float32)}
    """
    wanted = ", ".join(f"{spec.name} {spec.words}" for spec in signature.inputs)
    try:
        given = json.loads(body, parse_constant=_no_number)["row"]
        named = given if isinstance(given, dict) else {signature.inputs[0].name: given}
        return signature.of({name: [numbers] for name, numbers in named.items()})
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = f"{type(error).__name__} {str(error)[:300].rstrip('.')}"
        raise ValueError(
            f'The body is none that can be answered: {why}. Wanted {{"row": one row of {wanted}}}.'
        ) from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def answers_of(predictor: Predicting, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Answers of rows that wait together, in their order; rows of equal shapes go through the model together.

    Args:
        predictor: as ``export.load`` gives.
        rows: of ``row_of``.

    Returns:
        Of each row ``{"decision", "probabilities", "label"}``, in plain values; without a label where a row has an
        answer at each of many positions.
    """
    together: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, row in enumerate(rows):
        together.setdefault(tuple(array.shape for array in row.values()), []).append(place)
    answers: dict[int, dict[str, Any]] = {}
    for places in together.values():
        found = predictor({name: np.concatenate([rows[place][name] for place in places]) for name in rows[places[0]]})
        columns = {"decision": found.decision.tolist(), "probabilities": found.probabilities.tolist()}
        if found.labels is not None:
            columns["label"] = found.labels
        for index, place in enumerate(places):
            answers[place] = {name: column[index] for name, column in columns.items()}
    return [answers[place] for place in range(len(rows))]
