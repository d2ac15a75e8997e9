"""Tells a clock of the run, where there is one, for whom the stream works at the moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

CALLBACK = "[Callback]"
"""How Lightning's names for the actions of callbacks begin, as profilers hear them."""
READING = "lightning_posttrain: reading"
"""What is done once for all callbacks, in the hooks of whichever comes first."""

Bracket = Callable[[str], AbstractContextManager[Any]]
"""Gives a context in which an action of that name is under way."""


@contextmanager
def both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    """One context in the other."""
    with outer, inner:
        yield
