"""Answers of a model as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_posttrain.export import Decision
from lightning_posttrain.serving.answering import Array


def answer(decision: Decision, probabilities: Array, chosen: Array) -> dict[str, Any]:
    """The answer for one row.

    ``"label"`` is the name of the class, or None where the model gives no answer; of a multilabel task ``"labels"`` are
    the names of those that are set. Where there are positions, as of a segmentation, there is ``"decision"`` alone.

    Args:
        decision: how the model decides.
        probabilities: ``(C, ...)`` or ``(L, ...)``, finite.
        chosen: ``(...)`` or ``(L, ...)``.

    Example:
        >>> import numpy as np
        >>> of_pets = Decision("multiclass", ("cat", "dog"))
        >>> answer(of_pets, np.array([0.25, 0.75]), np.array(1))
        {'label': 'dog', 'decision': 1, 'probabilities': [0.25, 0.75]}
        >>> answer(of_pets, np.array([0.5, 0.5]), np.array(-1))["label"] is None
        True
    """
    plain = chosen.tolist()
    if probabilities.ndim > 1:
        return {"decision": plain}
    named = {"label": None if plain == -1 else _name(decision, plain)} if chosen.ndim == 0 else _labels(decision, plain)
    return {**named, "decision": plain, "probabilities": probabilities.tolist()}


def classes_of(said: dict[str, Any]) -> Sequence[str | None]:
    """Names of the classes that an answer gives."""
    return said["labels"] if "labels" in said else [said["label"]] if "label" in said else ()


def _labels(decision: Decision, plain: Sequence[int]) -> dict[str, Any]:
    return {"labels": [_name(decision, index) for index, value in enumerate(plain) if value == 1]}


def _name(decision: Decision, index: int) -> str:
    return decision.class_names[index] if index < len(decision.class_names) else str(index)
