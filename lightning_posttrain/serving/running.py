"""Answers of a model for rows that are run together; what fails is run again row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lightning_posttrain.serving.answering import Answered, Array, Row

_logger = logging.getLogger(__name__)
Run = Callable[[Mapping[str, Array]], Answered]


@final
@dataclass(frozen=True)
class Failure:
    """A row that a model gives no answer for.

    Args:
        reason: without what only the server's log should hold.
    """

    reason: str


Outcome = tuple[Array, Array] | Failure
"""Of a row its probabilities and its decision, without the dimension of the batch."""


def outcomes(run: Run, rows: Sequence[Row]) -> list[Outcome]:
    """Of each row its answer, or why there is none; a row that makes the model fail costs only itself."""
    try:
        return together(run, rows)
    except Exception as error:  # a model may raise anything
        if len(rows) == 1:
            _logger.error("The model failed on a row: %s: %s", type(error).__name__, error)
            return [Failure(f"The model failed on this row: {type(error).__name__}. The server's log says more.")]
    return [outcome for row in rows for outcome in outcomes(run, [row])]


def together(run: Run, rows: Sequence[Row]) -> list[Outcome]:
    """Of each row its answer, from one run.

    Raises:
        Exception: what the model raises.
        ValueError: it gave another number of rows.
    """
    answered = run({name: np.stack([row[name] for row in rows]) for name in rows[0]})
    probabilities, decision = answered.probabilities, answered.decision
    if len(probabilities) != len(rows) or len(decision) != len(rows):
        raise ValueError(f"{len(rows)} rows gave {len(probabilities)} probabilities, {len(decision)} decisions")
    if np.isfinite(probabilities).all():
        return list(zip(probabilities, decision, strict=True))
    finite = [bool(np.isfinite(p).all()) for p in probabilities]
    return [
        (p, d) if fine else Failure("The model gave probabilities that are not finite for this row.")
        for p, d, fine in zip(probabilities, decision, finite, strict=True)
    ]
