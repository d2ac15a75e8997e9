"""The call of the network that a step made, as an export makes it: which module, which arguments, which output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassReading, EvalBatch, ScoreKind
from lightning_posttrain.core.capture.batch_parts import Path, cloned, parts_of, replaced
from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import FORMS, CallSource
from lightning_posttrain.core.capture.leaves import leaves
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.export.run.settings import ForwardFn

NEAR = 0.02
"""By which probabilities of a second run may differ, in half precision."""
FEW = 8
"""Rows of a batch that are kept to ask a copy with."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores."


@dataclass(frozen=True, eq=False)
class AskedCall:
    """How a network is asked, and what of a batch it was given.

    Args:
        call: of the network, or the user's function that asks it.
        value: what it was given, a collection.
        parts: the tensors of it that have a row for each sample, by their path.
        targets: of the batch, which are no inputs although they may be arguments.
        scores: whether it gives logits or probabilities.
        heard: whether the step made the call itself.
    """

    call: CallAgain | ForwardFn
    value: Any
    parts: Mapping[Path, Tensor]
    targets: tuple[Tensor, ...]
    scores: ScoreKind
    heard: bool = True

    def parts_of(self, again: Replay, batch: EvalBatch) -> dict[Path, Tensor]:
        """The same of another batch, for which the module is not asked.

        Raises:
            ValueError: its step asked the network otherwise.
        """
        if not isinstance(self.call, CallAgain):
            value = again.inputs
        elif self.heard:
            known = getattr(again.found.again, "call", None)
            if not isinstance(known, CallAgain) or known.module != self.call.module:
                raise ValueError(f"the step asks its network otherwise than for the first batch. {CURE}")
            value = known.inputs
        else:
            value = ((again.inputs,), {})
        return _rows(value, batch)

    def kept(self) -> AskedCall:
        """Of a few rows, in memory of their own, in float32 and on the CPU: for a copy of the module."""
        tensors = parts_of(self.value)
        own = {path: _own(tensor, few=path in self.parts) for path, tensor in tensors.items()}
        value = replaced(self.value, own)
        call = replace(self.call, inputs=value) if isinstance(self.call, CallAgain) else self.call
        targets = tuple(_own(target, few=True) for target in self.targets)
        return replace(self, call=call, value=value, parts={path: own[path] for path in self.parts}, targets=targets)


def asked_call(again: Replay, batch: EvalBatch, *, forward_fn: ForwardFn | None) -> AskedCall:
    """How the scores of a step are asked for outside of it; the module gives them once more.

    Args:
        again: asks the module, inside of ``asked``.
        batch: as the step predicted it.
        forward_fn: the user's, from the module and the inputs of the batch; None where there is none.

    Raises:
        ValueError: no call of the module gives them.
    """
    call, heard = _call(again, batch) if forward_fn is None else (forward_fn, True)
    value = call.inputs if isinstance(call, CallAgain) else again.inputs
    reading: ClassReading = again.reading  # type: ignore[assignment]
    targets = tuple(parts_of(again.found.given.target).values())
    scores = again.found.given.form or reading.scores
    return AskedCall(call, value, _rows(value, batch), targets, scores, heard)  # type: ignore[arg-type]


def _rows(value: Any, batch: EvalBatch) -> dict[Path, Tensor]:
    parts = {path: part for path, part in parts_of(value).items() if part.ndim and len(part) == batch.size}
    if not parts:
        raise ValueError(f"the network was given nothing with a row for each of {batch.size} samples. {CURE}")
    return parts


def _own(tensor: Tensor, *, few: bool) -> Tensor:
    with torch.inference_mode(False):
        own = (tensor.detach()[:FEW] if few else tensor.detach()).to("cpu", copy=True)
        return own.float() if own.is_floating_point() else own


def _call(again: Replay, batch: EvalBatch) -> tuple[CallAgain, bool]:
    """The call, and whether the step made it itself."""
    drawn: tuple[CallAgain, bool] | None = None
    for call, heard in _calls(again):
        ask = replace(call, source=replace(call.source, form="as it is"))
        output = ask(again.module)
        for form in FORMS:
            scores = CallSource("", 0, 1, "", form).of(output)
            if scores is not None and _has_their_shape(scores, again):
                found = replace(call, source=replace(call.source, form=form)), heard
                if _is_of_the_step(scores, again, batch):
                    return found
                # what draws random numbers is exported for the reason of its refusal
                drawn = drawn or (found if not torch.equal(output, ask(again.module)) else None)
    if drawn is not None:
        return drawn
    raise ValueError(f"no call of the module gives the scores of the step, which makes more of them. {CURE}")


def _calls(again: Replay) -> Iterator[tuple[CallAgain, bool]]:
    """The call that was heard, and those of the whole module with the inputs of the batch."""
    known = getattr(again.found.again, "call", None)
    if isinstance(known, CallAgain):
        yield known, True
    if again.inputs is None:
        return
    arguments: Any = ((again.inputs,), {})
    output = again.module(cloned(again.inputs))
    for path, _ in leaves(output, ()):
        yield CallAgain("", CallSource("", 0, 1, path, "as it is"), arguments), False


def _has_their_shape(scores: Tensor, again: Replay) -> bool:
    return scores.shape == again.found.predictions.shape and scores.is_floating_point()


def _is_of_the_step(scores: Tensor, again: Replay, batch: EvalBatch) -> bool:
    """Whether scores of the shape of the step's say the same."""
    read: Any = again.reading.batch(scores.detach(), again.found.given, again.rows)
    found, wanted = (probabilities_of(one.scores, labels=batch.multilabel) for one in (read, batch))
    return torch.allclose(found, wanted, rtol=0, atol=NEAR, equal_nan=True)


def probabilities_of(scores: Tensor, *, labels: bool) -> Tensor:
    """Of rows of logits ``(R, C)``, or of log-odds of labels."""
    wide = scores.double()
    return wide.sigmoid() if labels else wide.softmax(1)
