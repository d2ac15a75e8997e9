"""Which call of a module gave a tensor, and in what form, so that the next step's can be taken from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_posttrain.core.capture.leaves import leaves
from lightning_posttrain.core.capture.memory import Memory, memories
from lightning_posttrain.core.capture.tap import Firing

FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda t: t,
    "without a second dimension": lambda t: t.squeeze(1),
    "without a last dimension": lambda t: t.squeeze(-1),
    "with a second dimension": lambda t: t.unsqueeze(1),
    "rows of the last dimension": lambda t: t.reshape(-1, t.shape[-1]),
    "a row": lambda t: t.reshape(-1),
    "last dimension second": lambda t: t.movedim(-1, 1),
    "second dimension last": lambda t: t.movedim(1, -1),
    "without dimensions of one": lambda t: t.squeeze(),
}
"""Views under which steps give outputs to losses."""


@dataclass(frozen=True)
class CallSource:
    """Where a prediction comes from.

    Args:
        module: dotted name of the module, "" for the LightningModule.
        number: of its call in the step, from 0.
        calls: how many there are in a step.
        path: of the tensor in what it gave.
        form: a key of ``FORMS``.
    """

    module: str
    number: int
    calls: int
    path: str
    form: str

    def take(self, firings: Sequence[Firing]) -> list[Tensor]:
        """The prediction of a step; all that could be it where the module was not called as often as before."""
        own = [firing for firing in firings if firing.name == self.module]
        own = [own[self.number]] if len(own) == self.calls else own
        found = (self.of(firing.output) for firing in own)
        return [one for one in found if one is not None]

    def of(self, output: Any) -> Tensor | None:
        """The prediction in what the module gave; None where it is not there."""
        found = dict(leaves(output, ())).get(self.path)
        return None if found is None or found.ndim == 0 else _formed(found, self.form)


def _formed(tensor: Tensor, form: str) -> Tensor | None:
    try:
        return FORMS[form](tensor)
    except (IndexError, RuntimeError):
        return None


def call_sources(prediction: Tensor, firings: Sequence[Firing]) -> Iterator[tuple[CallSource, Firing]]:
    """The calls whose output a prediction is, or is a view of, the innermost first."""
    for i, firing in enumerate(firings):
        for path, memory in memories(firing.output):
            form = _form(memory, prediction) if memory.holds(prediction) else None
            if form is not None:
                same = [j for j, other in enumerate(firings) if other.name == firing.name]
                yield CallSource(firing.name, same.index(i), len(same), path, form), firing


def _form(memory: Memory, prediction: Tensor) -> str | None:
    """The form in which a tensor that lay in the memory is the prediction."""
    given = memory.reshaped(prediction)
    for name in FORMS:
        formed = _formed(given, name)
        if formed is not None and _is_view(formed, prediction):
            return name
    return None


def _is_view(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one storage are the same numbers; strides of dimensions of one do not matter."""
    place = (a.shape == b.shape, a.storage_offset() == b.storage_offset(), a.data_ptr() == b.data_ptr())
    strides = ((x, y) for n, x, y in zip(a.shape, a.stride(), b.stride(), strict=False) if n > 1)
    return all(place) and all(x == y for x, y in strides)
