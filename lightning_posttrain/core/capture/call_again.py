"""The call of a step that gave a prediction, made once more with what the step gave to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from lightning_posttrain.core.capture.batch_parts import Path, cloned, parts_of, replaced
from lightning_posttrain.core.capture.call_source import CallSource, call_sources
from lightning_posttrain.core.capture.memory import shares_memory
from lightning_posttrain.core.capture.network_call import called
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.tap import Arguments, Firing, Kept


@dataclass(frozen=True, eq=False)
class CallAgain:
    """A call of one step.

    Args:
        module: dotted name of the outermost module that was called, "" for the LightningModule.
        source: what of the call is the prediction; its number counts inside the call.
        inputs: its arguments.
    """

    module: str
    source: CallSource
    inputs: Arguments

    def __call__(self, root: nn.Module) -> Tensor:
        """The prediction, from the module as it is; the arguments stay as they are."""
        return called(root, self.module, self.source, cloned(self.inputs))


def call_again(prediction: Tensor, step: Step) -> CallAgain | None:
    """The call of a network that gave a prediction; None where there is none, or it was fed by other modules.

    A head that took the features of a backbone is never asked alone: these are of the weights that gave them.
    """
    for source, giver in reversed(list(call_sources(prediction.detach(), step.inside))):
        outer = next((firing for firing in step.inside if firing.call in giver.within[:1]), giver)
        kept = outer.kept or Kept(outer.inputs, outer.inputs)
        if any(kept.given) and not _is_fed(outer, kept.given, step):
            inside = [f for f in step.inside if f.name == source.module and (f is outer or outer.call in f.within)]
            of_call = replace(source, number=inside.index(giver), calls=len(inside))
            return CallAgain(outer.name, of_call, kept.before)
    return None


def _is_fed(call: Firing, inputs: Arguments, step: Step) -> bool:
    """Whether a call may have been given what other modules made of the batch."""
    others = any(f.mixes and f.call < call.call for f in step.inside if call.call not in f.within)
    given = (part for part in parts_of(inputs).values() if part.is_floating_point())
    return others and not all(any(shares_memory(one, part) for part in step.parts.values()) for one in given)


def before(value: Any, parts: Mapping[Path, Tensor], kept: Mapping[Path, Tensor]) -> Any:
    """A collection of tensors, with those that are parts of a batch as they were kept before a step, which spoils some.

    Args:
        value: the collection.
        parts: of the batch.
        kept: copies of them; none where none were kept.
    """
    found = {path: _before(tensor, parts, kept) for path, tensor in parts_of(value).items()}
    return replaced(value, {path: tensor for path, tensor in found.items() if tensor is not None})


def _before(tensor: Tensor, parts: Mapping[Path, Tensor], kept: Mapping[Path, Tensor]) -> Tensor | None:
    return next((copy for path, copy in kept.items() if _is_same(tensor, parts[path])), None)


def _is_same(a: Tensor, b: Tensor) -> bool:
    return shares_memory(a, b) and a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()
