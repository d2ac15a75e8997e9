"""What objects of other people say of themselves: a dataset, a sampler or a loader may raise anything when asked."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

_said: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def attribute(owner: Any, name: str, default: Any = None) -> Any:
    """An attribute of an object; ``default`` where it has none, or cannot give it, which is said once.

    Example:
        >>> attribute(range(3), "stop"), attribute(range(3), "classes")
        (3, None)
    """
    try:
        return getattr(owner, name, default)
    except Exception as error:
        _say(owner, f"`{name}`", error)
        return default


def length(owner: Any) -> int | None:
    """``len`` of an object; None where it has none, or cannot give it.

    A ``TypeError`` or ``NotImplementedError`` says that there is none, as torch and Lightning take it; another error is
    said once.

    Example:
        >>> length([1, 2]), length(iter([1, 2]))
        (2, None)
    """
    try:
        return len(owner)
    except (TypeError, NotImplementedError):
        return None
    except Exception as error:
        _say(owner, "length", error)
        return None


def _say(owner: Any, what: str, error: Exception) -> None:
    try:
        told = _said.setdefault(owner, set())
    except TypeError:  # it can be no key, and is told each time
        told = set()
    if what not in told:
        told.add(what)
        warnings.warn(
            f"lightning_posttrain: the {what} of {type(owner).__name__} cannot be read and is taken as missing "
            f"({type(error).__name__}: {error}). The run goes on. Let it raise AttributeError, or give it, to hear no "
            "more of this.",
            stacklevel=3,
        )
