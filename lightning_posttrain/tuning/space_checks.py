"""What is refused of a search space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.space import distinct

FORMS = '(low, high), (low, high, "log") or a list of choices'
PLAIN = (bool, int, float, str, type(None))


def checked_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space, once each of its entries can be searched.

    Raises:
        StudyRefused: it is empty, or an entry is of another form, has its bounds the wrong way round, or a choice that
            a file cannot hold.

    Example:
        >>> checked_space({"lr": (1e-4, 1e-1, "log"), "width": [16, 32]})
        {'lr': (0.0001, 0.1, 'log'), 'width': [16, 32]}
    """
    if not isinstance(space, Mapping) or not space:
        raise StudyRefused(f"`space` is {space!r}, wanted a mapping with an entry for each parameter: {FORMS}.")
    for name, wanted in space.items():
        if not isinstance(name, str):
            raise StudyRefused(f"`space` has the name {name!r}, wanted text.")
        _check_entry(f"`space[{name!r}]`", wanted)
    return dict(space)


def _check_entry(said: str, wanted: Any) -> None:
    if isinstance(wanted, list):
        _check_choices(said, wanted)
    elif isinstance(wanted, tuple):
        _check_range(said, wanted)
    else:
        raise StudyRefused(f"{said} is {wanted!r}, wanted {FORMS}.")


def _check_choices(said: str, choices: list[Any]) -> None:
    for choice in choices:
        if not isinstance(choice, PLAIN):
            raise StudyRefused(
                f"{said} has the choice {choice!r}, wanted text, numbers, booleans or None: list names here, and let "
                "`build` make the objects of them."
            )
        if isinstance(choice, float) and not math.isfinite(choice):
            raise StudyRefused(f"{said} has the choice {choice!r}, wanted finite numbers.")
    if not choices or len(distinct(choices)) < len(choices):
        raise StudyRefused(f"{said} is {choices!r}, wanted one choice or more, each once.")


def _check_range(said: str, wanted: tuple[Any, ...]) -> None:
    ends = wanted[:2]
    if len(wanted) not in (2, 3) or wanted[2:] not in ((), ("log",)) or not all(_is_number(end) for end in ends):
        raise StudyRefused(f"{said} is {wanted!r}, wanted {FORMS}, with finite numbers.")
    low, high = ends
    if low >= high:
        raise StudyRefused(f"{said} is {wanted!r}, wanted low below high; one value alone is a list of one choice.")
    if wanted[2:] and low <= 0:
        raise StudyRefused(f"{said} is {wanted!r}, wanted low above 0 for a logarithm.")


def _is_number(end: Any) -> bool:
    return isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
