"""Finds all that a module keeps, at any depth, and notes how it is put back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_posttrain.core.capture.module_state.contents import (
    Undo,
    refill_all,
    refill_attributes,
    refill_lists,
)
from lightning_posttrain.core.capture.module_state.holders import ClassAttributes, Slots
from lightning_posttrain.core.capture.module_state.keeping import IN_PLACE, KEEP, Item
from lightning_posttrain.core.capture.module_state.kinds import classes_of, kind_of, kinds_apart, kinds_inside
from lightning_posttrain.core.capture.module_state.stand_ins import CannotBePutBackError, StandIn
from lightning_posttrain.core.capture.module_state.tensor_values import Memory, TensorValues, memory_of

MOST_OBJECTS = 100_000
"""In one attribute, at any depth; of numbers and strings there may be more."""
MOST_BYTES = 1 << 30
"""Of tensors and arrays beside the buffers, altogether; small ones do not count."""
SMALL = 1 << 20
OWN = frozenset(vars(nn.Module()))


class StateWalk:
    """Notes what a module keeps.

    Args:
        root: the module.
        gradients: whether gradients are to go through it.
    """

    def __init__(self, root: nn.Module, *, gradients: bool) -> None:
        self._root = root
        self._gradients = gradients
        self._values = TensorValues()
        self._undo: list[Undo] = []
        self._seen: dict[int, Any] = {}
        self._placed: dict[int, tuple[Any, Any]] = {}
        self._waiting: list[Item] = []
        self._objects, self._bytes = MOST_OBJECTS, MOST_BYTES
        self._weights: set[Memory | None] = set()

    def keep(self) -> None:
        """Note how all is put back, and let stand-ins stand for what cannot be.

        Raises:
            CannotBePutBackError: there is something for which none can stand.
        """
        for part in self._root.modules():
            if not self._is_seen(part):
                self._part(part, Item(part, None, None, (None, "", part)))
        self._values.copy()

    def put_back(self) -> None:
        """Make all as it was; where something fails, the rest is put back nevertheless."""
        failed: list[Exception] = []
        for undo in (*self._undo, self._values.put_back):
            try:
                undo()
            except Exception as error:  # whatever an object of the user's raises
                failed.append(error)
        if failed:
            raise failed[0]

    def undo_with(self, undo: Undo) -> None:
        """Note what puts something back."""
        self._undo.append(undo)

    def modules(self, item: Item) -> None:
        """Go on with a module that is not registered as a part, and its parts."""
        self._part(item.value, item)
        for name, part in item.value.named_modules():
            if not self._is_seen(part):
                self._part(part, item._replace(trail=(item.trail, ".", name)))

    def _part(self, part: nn.Module, item: Item) -> None:
        attributes = vars(part)
        before = self._attributes(attributes)
        own = [value for name, value in before.items() if name in OWN and isinstance(value, (dict, set))]
        self._undo.append(partial(refill_all, [(items, items.copy() if items else None) for items in own]))
        self._tensors(part, item)
        self._each(attributes, before, item)
        self._classes(type(part), item)

    def _tensors(self, part: nn.Module, item: Item) -> None:
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.max_norm is not None:
            self._values.keep(part.weight)  # a forward shortens its rows in place
        for store, kept in ((part._parameters, False), (part._buffers, True)):
            for name, tensor in store.items():
                if tensor is None:
                    continue
                # those of a compiled script lie elsewhere
                here = Item(tensor, store if isinstance(store, dict) else None, name, (item.trail, ".", name))
                if is_lazy(tensor):
                    raise CannotBePutBackError(self._reason(here, "would get its shape", "call the module once before"))
                if not self._stands_aside(here) and kept:
                    self._values.keep(tensor)

    def _attributes(self, attributes: MutableMapping[str, Any]) -> dict[str, Any]:
        before = dict(attributes)
        self._undo.append(partial(refill_attributes, attributes, before))
        return before

    def _each(self, holder: Any, before: Mapping[str, Any], item: Item) -> None:
        """Look at each attribute for itself, as one may be too large."""
        for name, value in before.items():
            if name not in OWN and kind_of(type(value)) != "leaf":
                outside = self._waiting, self._objects
                self._waiting, self._objects = [Item(value, holder, name, (item.trail, ".", name))], MOST_OBJECTS
                self._follow()
                self._waiting, self._objects = outside

    def _follow(self) -> None:
        root = self._waiting[0]
        while self._waiting:
            item = self._waiting.pop()
            kind = kind_of(type(item.value))
            if id(item.value) in self._placed and item.holder is not None:
                item.holder[item.key] = self._placed[id(item.value)][1]
            elif kind in IN_PLACE or not self._is_seen(item.value):
                KEEP[kind](self, item)
                self._objects -= 1
            if self._objects < 0:
                self._waiting = []
                self.stand_in(root, f"holds more than {MOST_OBJECTS:,} objects to copy", "keep it in one tensor")

    def _is_seen(self, value: Any) -> bool:
        seen = id(value) in self._seen
        self._seen[id(value)] = value
        return seen

    def look_at(self, values: Collection[Any], keys: Iterable[Any], holder: Any, item: Item) -> None:
        """Go on with the content of an item."""
        apart = kinds_apart(values)
        if list in apart and not kinds_inside(values, {list}):
            apart -= {list}
            self._lists([value for value in values if type(value) is list])
        if apart:
            found = zip(values, keys, strict=True)
            self._waiting += [Item(v, holder, key, (item.trail, "[", key)) for v, key in found if type(v) in apart]

    def _lists(self, lists: list[list[Any]]) -> None:
        """Note lists of leaves, of which there may be very many."""
        self._undo.append(partial(refill_lists, lists, list(map(list.copy, lists))))
        self._objects -= len(lists)

    def members(self, item: Item) -> None:
        """Go on with the attributes of an item, and with those of its class."""
        attributes = item.value.__dict__ if type(item.value).__dictoffset__ else None
        for holder in (attributes, Slots(item.value)):
            for name, value in self._attributes(holder).items() if isinstance(holder, MutableMapping) else ():
                if kind_of(type(value)) != "leaf":
                    self._waiting.append(Item(value, holder, name, (item.trail, ".", name)))
        self._classes(type(item.value), item)

    def _classes(self, kind: type, item: Item) -> None:
        for base in classes_of(kind):
            if not self._is_seen(base):
                attributes = ClassAttributes(base)
                self._each(attributes, self._attributes(attributes), item)

    def tensor(self, tensor: Tensor, item: Item) -> None:
        """Keep a tensor, but for weights, which a forward reads alone."""
        if self._stands_aside(item) or isinstance(tensor, nn.Parameter) or self._is_seen(tensor):
            return
        # what was made in inference mode can be changed only there
        frozen = tensor.is_inference() and not torch.is_inference_mode_enabled()
        memory = memory_of(tensor)
        if not frozen and memory not in self._memory_of_weights() and self.fits(item, tensor.nbytes):
            self._values.keep(tensor)

    def _memory_of_weights(self) -> set[Memory | None]:
        if not self._weights:
            self._weights = {None, *map(memory_of, self._root.parameters())}
        return self._weights

    def _stands_aside(self, item: Item) -> bool:
        """Whether a copy takes the place of a tensor that was made in inference mode, which autograd refuses."""
        aside = self._gradients and item.holder is not None and bool(item.value.is_inference())
        if aside:
            _, copied = self._placed.get(id(item.value)) or (None, _copied(item.value))
            self.place(item, copied)
        return aside

    def fits(self, item: Item, size: int) -> bool:
        """Whether so many bytes may be copied; if not, a stand-in is in the place of the item."""
        counted = size if size > SMALL else 0
        fits = counted <= self._bytes
        if fits:
            self._bytes -= counted
        else:
            self.stand_in(item, f"makes more than {MOST_BYTES >> 20:,} MiB to copy", "register it as a buffer")
        return fits

    def place(self, item: Item, other: Any) -> None:
        """Put something else in the place of an item, everywhere the same."""
        self._placed[id(item.value)] = (item.value, other)
        item.holder[item.key] = other

    def stand_in(self, item: Item, why: str, instead: str) -> None:
        """Put in the place of an item what raises when it is used.

        Raises:
            CannotBePutBackError: it cannot be exchanged where it is.
        """
        reason = self._reason(item, why, instead)
        if item.holder is None:
            raise CannotBePutBackError(reason)
        self.place(item, StandIn(reason))

    def _reason(self, item: Item, why: str, instead: str) -> str:
        what = f"`{self._path(item.trail)}` (a {type(item.value).__qualname__}) {why}"
        return (
            f"{what}. A run of the module for our sake could not put it back, and does not use it; let forward_fn or "
            f"scores_fn go without it, or {instead}"
        )

    def _path(self, trail: tuple[Any, str, Any]) -> str:
        parent, form, key = trail
        if parent is None:
            return next((name for name, part in self._root.named_modules() if part is key), "")
        path = self._path(parent)
        return f"{path}[{key!r}]" if form == "[" else f"{path}.{key}".lstrip(".")


def _copied(tensor: Tensor) -> Tensor:
    clone = tensor.detach().clone()
    return nn.Parameter(clone, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else clone
