"""How each kind of what a module keeps is noted, so that it can be put back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from lightning_posttrain.core.capture.module_state import contents
from lightning_posttrain.core.capture.module_state.contents import Undo
from lightning_posttrain.core.capture.module_state.holders import TupleItems
from lightning_posttrain.core.capture.module_state.kinds import Kind
from lightning_posttrain.core.capture.module_state.stand_ins import copied_iterator

COPIED = "keep in its place what can be copied, as a list and a position"


class Item(NamedTuple):
    """Something that a module keeps.

    Args:
        value: what it is.
        holder: what it is held in, as ``holder[key]``; None where it cannot be exchanged.
        key: its place there.
        trail: how it was reached: the trail of its holder, and its place.
    """

    value: Any
    holder: Any
    key: Any
    trail: tuple[Any, str, Any]


class Walk(Protocol):
    """What notes what a module keeps."""

    def undo_with(self, undo: Undo) -> None:
        """Note what puts something back."""

    def look_at(self, values: Collection[Any], keys: Iterable[Any], holder: Any, item: Item) -> None:
        """Go on with the content of an item."""

    def members(self, item: Item) -> None:
        """Go on with the attributes of an item, and with those of its class."""

    def modules(self, item: Item) -> None:
        """Go on with a module that is not registered as a part, and its parts."""

    def tensor(self, tensor: Tensor, item: Item) -> None:
        """Keep a tensor."""

    def fits(self, item: Item, size: int) -> bool:
        """Whether so many bytes may be copied; if not, a stand-in is in the place of the item."""

    def place(self, item: Item, other: Any) -> None:
        """Put something else in the place of an item, everywhere the same."""

    def stand_in(self, item: Item, why: str, instead: str) -> None:
        """Put in the place of an item what raises when it is used."""


def _list(walk: Walk, item: Item) -> None:
    items: list[Any] = item.value
    walk.undo_with(partial(contents.refill_list, items, list.copy(items)))
    walk.look_at(items, range(len(items)), items, item)
    _beside(walk, item, list)


def _deque(walk: Walk, item: Item) -> None:
    before = list(item.value)
    walk.undo_with(partial(contents.refill_deque, item.value, before))
    walk.look_at(before, range(len(before)), item.value, item)
    _beside(walk, item, type(before))


def _dict(walk: Walk, item: Item) -> None:
    before: dict[Any, Any] = dict.copy(item.value)
    walk.undo_with(partial(contents.refill_dict, item.value, before))
    walk.look_at(before, before, None, item)
    walk.look_at(before.values(), before, item.value, item)
    _beside(walk, item, dict)


def _set(walk: Walk, item: Item) -> None:
    if isinstance(item.value, set):
        walk.undo_with(partial(contents.refill_set, item.value, set.copy(item.value)))
    walk.look_at(item.value, item.value, None, item)
    _beside(walk, item, set)


def _beside(walk: Walk, item: Item, plain: type) -> None:
    """Attributes of what derives from a container."""
    if type(item.value) is not plain:
        walk.members(item)


def _array(walk: Walk, item: Item) -> None:
    before = item.value[:]
    walk.undo_with(partial(contents.refill_array, item.value, before))


def _numpy(walk: Walk, item: Item) -> None:
    array = item.value
    if array.flags.writeable and walk.fits(item, array.nbytes):
        walk.undo_with(partial(contents.refill_numpy, array, array.copy()))
        if array.dtype.hasobject:
            walk.look_at(array.ravel().tolist(), range(array.size), None, item)
    if hasattr(array, "__dict__"):
        walk.members(item)


def _random(walk: Walk, item: Item) -> None:
    walk.undo_with(contents.undo_random(item.value))


def _object(walk: Walk, item: Item) -> None:
    walk.members(item)


def _module(walk: Walk, item: Item) -> None:
    walk.modules(item)


def _tuple(walk: Walk, item: Item) -> None:
    holder = None if item.holder is None else TupleItems(*item[:3])
    walk.look_at(item.value, range(len(item.value)), holder, item)


def _tensor(walk: Walk, item: Item) -> None:
    walk.tensor(item.value, item)


def _partial(walk: Walk, item: Item) -> None:
    whole = (item.value.func, item.value.args, item.value.keywords)
    walk.look_at(whole, ("func", "args", "keywords"), None, item)


def _method(walk: Walk, item: Item) -> None:
    walk.look_at((item.value.__self__,), ("__self__",), None, item)


def _file(walk: Walk, item: Item) -> None:
    try:
        undo = contents.undo_file(item.value)
    except OSError:
        walk.stand_in(item, "cannot be moved back to where it is read from", COPIED)
    else:
        if undo is not None:
            walk.undo_with(undo)


def _iterator(walk: Walk, item: Item) -> None:
    shared: list[Any] = []
    try:
        other = copied_iterator(item.value, shared)
    except TypeError:
        _moving(walk, item)
    else:
        if item.holder is None:
            _moving(walk, item)
        walk.place(item, other)
        walk.look_at(shared, range(len(shared)), None, item)


def _moving(walk: Walk, item: Item) -> None:
    walk.stand_in(item, "cannot be copied, and moves on when it is used", COPIED)


KEEP: Mapping[Kind, Callable[[Walk, Item], None]] = {
    "list": _list, "deque": _deque, "dict": _dict, "set": _set, "array": _array, "numpy": _numpy, "random": _random,
    "file": _file, "object": _object, "module": _module, "tuple": _tuple, "tensor": _tensor, "partial": _partial,
    "method": _method, "iterator": _iterator, "moving": _moving,
}  # fmt: skip
IN_PLACE: frozenset[Kind] = frozenset({"tuple", "tensor", "partial", "method", "iterator", "moving"})
"""What does not change, or may be exchanged, so that each place where it is held is looked at; of others one."""
