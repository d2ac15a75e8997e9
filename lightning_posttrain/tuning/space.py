"""The search space: as users write it, its grid, as plain values for files, and back."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightning_posttrain.tuning.refusal import StudyRefused


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both taken in; ``whole`` for integers, ``log`` where factors count."""

    low: float
    high: float
    log: bool
    whole: bool


def range_of(wanted: Any) -> Range | None:
    """The range of numbers that a tuple says; None where choices are listed.

    Example:
        >>> range_of((0.001, 1.0, "log")), range_of([16, 32])
        (Range(low=0.001, high=1.0, log=True, whole=False), None)
    """
    if not isinstance(wanted, tuple):
        return None
    low, high = wanted[:2]
    return Range(low, high, "log" in wanted[2:], isinstance(low, int) and isinstance(high, int))


def described_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """A space as plain values, in which a range and choices are told apart."""
    return {name: _described(wanted) for name, wanted in space.items()}


def _described(wanted: Any) -> dict[str, Any]:
    found = range_of(wanted)
    return {"choices": list(wanted)} if found is None else {"low": found.low, "high": found.high, "log": found.log}


def space_of(described: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The space that ``described_space`` was given.

    Example:
        >>> space = {"lr": (0.001, 1.0, "log"), "width": [16, 32], "depth": (1, 4)}
        >>> space_of(described_space(space)) == space
        True
    """
    return {name: _wanted(said) for name, said in described.items()}


def _wanted(said: Mapping[str, Any]) -> Any:
    if "choices" in said:
        return list(said["choices"])
    return (said["low"], said["high"], *(["log"] if said["log"] else []))


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in their order; ``True`` is not 1."""
    found: list[Any] = []
    for value in values:
        if not any(type(value) is type(other) and value == other for other in found):
            found.append(value)
    return found


def grid_of(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations, the last parameter fastest; ranges of whole numbers are taken in full.

    Raises:
        StudyRefused: a range holds more than can be listed.

    Example:
        >>> grid_of({"width": [16, 32], "depth": (1, 2)})
        [{'width': 16, 'depth': 1}, {'width': 16, 'depth': 2}, {'width': 32, 'depth': 1}, {'width': 32, 'depth': 2}]
    """
    axes = [_axis(name, wanted) for name, wanted in space.items()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def _axis(name: str, wanted: Any) -> list[Any]:
    found = range_of(wanted)
    if found is None:
        return list(wanted)
    if found.log or not found.whole:
        raise StudyRefused(f'`space[{name!r}]` is {wanted!r}, wanted a list of choices for `sampler="grid"`.')
    return list(range(int(found.low), int(found.high) + 1))
