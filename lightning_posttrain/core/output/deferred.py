"""Values that are worked out when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any, TypeVar, final

Value = TypeVar("Value")


@final
class Deferred(Mapping[str, Value]):
    """A mapping that is worked out once, when it is first looked into, in the thread that does so.

    Copied or pickled it is a dict.

    Args:
        work: gives its items.

    Example:
        >>> squares = Deferred(lambda: {"three": 9})
        >>> squares["three"], len(squares)
        (9, 1)
    """

    def __init__(self, work: Callable[[], Mapping[str, Value]]) -> None:
        self._work: Callable[[], Mapping[str, Value]] | None = work
        self._found: Mapping[str, Value] = {}
        self._lock = Lock()

    def _items(self) -> Mapping[str, Value]:
        with self._lock:
            if self._work is not None:
                self._found, self._work = self._work(), None
        return self._found

    def __getitem__(self, name: str) -> Value:
        return self._items()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())

    def __repr__(self) -> str:
        return repr(self._items())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self._items()),)
