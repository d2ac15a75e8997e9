"""What holds a value, as ``holder[key] = value``: items of tuples, slots and attributes of classes too."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from lightning_posttrain.core.capture.module_state.kinds import slots_of


class TupleItems:
    """Items of a tuple: with another item there is another tuple in its place."""

    def __init__(self, items: tuple[Any, ...], holder: Any, key: Any) -> None:
        self._make = getattr(type(items), "_make", type(items))
        self._items = list(items)
        self._holder = holder
        self._key = key

    def __setitem__(self, index: int, value: Any) -> None:
        self._items[index] = value
        self._holder[self._key] = self._make(self._items)


class Slots(MutableMapping[str, Any]):
    """The slots of an object that have a value."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._slots = {slot.__name__: slot for slot in slots_of(type(owner))}

    def __getitem__(self, name: str) -> Any:
        try:
            return self._slots[name].__get__(self._owner)
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        self._slots[name].__set__(self._owner, value)

    def __delitem__(self, name: str) -> None:
        self._slots[name].__delete__(self._owner)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._slots if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ClassAttributes(MutableMapping[str, Any]):
    """What a class itself has, but for what Python keeps there."""

    def __init__(self, owner: type) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        return vars(self._owner)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self._owner, name, value)

    def __delitem__(self, name: str) -> None:
        delattr(self._owner, name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in vars(self._owner) if not name.startswith(("__", "_abc_")))

    def __len__(self) -> int:
        return sum(1 for _ in self)
