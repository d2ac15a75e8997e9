"""Values that are worked out when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar, final, overload

import torch

from lightning_posttrain.core.output.result import Result

Value = TypeVar("Value")
Found = TypeVar("Found", bound=Result)


class _Once(Generic[Value]):
    """What a call gives, made once, in the thread that first asks, outside of inference mode and without gradients."""

    def __init__(self, work: Callable[[], Value]) -> None:
        self._work: Callable[[], Value] | None = work
        self._found: Value
        self._lock = Lock()

    def __call__(self) -> Value:
        with self._lock:
            if self._work is not None:
                with torch.inference_mode(False), torch.no_grad():  # a program may go on with the tensors
                    self._found = self._work()
                self._work = None  # lets go of what it was worked out from
        return self._found


@final
class Deferred(Mapping[str, Value]):
    """A mapping that is worked out once, when it is first looked into, in the thread that does so.

    Copied or pickled it is a dict.

    Args:
        work: gives its items.
        names: those of the items, in order, where they are known before; to ask for these works nothing out.

    Example:
        >>> squares = Deferred(lambda: {"three": 9})
        >>> squares["three"], len(squares)
        (9, 1)
    """

    def __init__(self, work: Callable[[], Mapping[str, Value]], names: Collection[str] | None = None) -> None:
        self._items = _Once(work)
        self._names = names

    def __getitem__(self, name: str) -> Value:
        return self._items()[name]

    def __contains__(self, name: object) -> bool:
        return name in (self._items() if self._names is None else self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items() if self._names is None else self._names)

    def __len__(self) -> int:
        return len(self._items() if self._names is None else self._names)

    def __repr__(self) -> str:
        return repr(self._items())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self._items()),)


@final
class DeferredSequence(Sequence[Value]):
    """The same of a sequence. Copied or pickled it is a tuple.

    Args:
        work: gives its items.

    Example:
        >>> DeferredSequence(lambda: ["one", "two"])[1]
        'two'
    """

    def __init__(self, work: Callable[[], Sequence[Value]]) -> None:
        self._items = _Once(work)

    @overload
    def __getitem__(self, place: int) -> Value: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Value]: ...

    def __getitem__(self, place: int | slice) -> Value | Sequence[Value]:
        return self._items()[place]

    def __len__(self) -> int:
        return len(self._items())

    def __repr__(self) -> str:
        return repr(self._items())

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self._items()),)


@final
class DeferredResult(Generic[Found]):
    """A result that is worked out when it is first asked for, and is the same to all who take a result.

    Args:
        work: gives the result.
    """

    def __init__(self, work: Callable[[], Found]) -> None:
        self._found = _Once(work)

    @property
    def found(self) -> Found:
        """The result itself."""
        return self._found()

    @property
    def notes(self) -> tuple[str, ...]:
        """Its notes."""
        return self.found.notes

    @property
    def alerts(self) -> tuple[str, ...]:
        """Its alerts."""
        return self.found.alerts

    def scalars(self) -> dict[str, float]:
        """Its scalars."""
        return self.found.scalars()

    def to_dict(self) -> dict[str, Any]:
        """Its record."""
        return self.found.to_dict()


@final
class Joined(Mapping[str, Value]):
    """Mappings as one, in their order, without looking into any; a name is looked up in the first that has it.

    Copied or pickled it is a dict.

    Args:
        *parts: the mappings, no name of which is in two.

    Example:
        >>> dict(Joined({"one": 1}, Deferred(lambda: {"two": 2}, ["two"])))
        {'one': 1, 'two': 2}
    """

    def __init__(self, *parts: Mapping[str, Value]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Value:
        for part in self._parts:
            if name in part:
                return part[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return (name for part in self._parts for name in part)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
