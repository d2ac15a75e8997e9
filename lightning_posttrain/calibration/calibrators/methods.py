"""Calibrators by the name of their method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.isotonic import IsotonicCalibration
from lightning_posttrain.calibration.calibrators.scaling import (
    Identity,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)
from lightning_posttrain.classification import Task

METHODS: Mapping[str, type[Calibrator]] = {
    kind.method: kind for kind in (Identity, TemperatureScaling, VectorScaling, PlattScaling, IsotonicCalibration)
}


def from_state(state: Mapping[str, Any]) -> Calibrator:
    """The calibrator whose ``to_state`` this is.

    Raises:
        ValueError: no calibrator has written it.

    Example:
        >>> from_state({"method": "temperature", "task": "binary", "temperature": 2.0}).describe()
        'temperature 2.00: the network is too sure of itself'
    """
    method = str(state.get("method"))
    if method not in METHODS:
        raise ValueError(
            f"`state` has method {method!r}, wanted {_listed(tuple(METHODS))}. Give what `to_state` returned, of this "
            "version of lightning_posttrain or an earlier one."
        )
    kind = METHODS[method]
    missing = [name for name in ("task", *kind.values) if name not in state]
    if missing:
        raise ValueError(f"`state` of method {method!r} lacks {_listed(missing)}. Give what `to_state` returned.")
    for name in kind.values:
        if not isinstance(state[name], (Tensor, int, float)):
            raise ValueError(
                f"`state` has {name!r} of type {type(state[name]).__name__}, wanted a number or a tensor. Give what "
                "`to_state` returned."
            )
    return kind(**{name: state[name] for name in ("task", *kind.values)})


def check_method(method: str, task: Task) -> None:
    """Raise where a method of calibration is unknown, or is not for a task.

    Raises:
        ValueError: it says which methods the task has.
    """
    wanted = tuple(name for name, kind in METHODS.items() if name != Identity.method and task in kind.tasks)
    if method not in wanted:
        raise ValueError(
            f"`method` is {method!r}, wanted {_listed(wanted)} for task {task!r}. Leave it out, or change it."
        )


def _listed(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
