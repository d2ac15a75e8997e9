"""The call of the network that a step made, as an export makes it: which module, which arguments, which output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassReading, EvalBatch, ScoreKind
from lightning_posttrain.core.capture.batch_parts import Path, cloned, parts_of, replaced
from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import FORMS, CallSource
from lightning_posttrain.core.capture.leaves import leaves
from lightning_posttrain.core.stream.replay import ForwardFn, Replay

NEAR = 0.02
"""By which probabilities of a second run may differ, in half precision."""
FEW = 8
"""Rows of a batch that are kept to ask a copy with."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores."


@dataclass(frozen=True, eq=False)
class AskedCall:
    """How a network is asked, and what of a batch it was given.

    Args:
        call: of the network, or the function of the user's that asks it.
        value: what it was given, a collection.
        parts: the tensors of it that have a row for each sample, by their path.
        targets: of the batch, which are no inputs although they may be arguments.
        scores: whether it gives logits or probabilities.
        heard: whether the step made the call itself.
        form: of what a function of the user's gives, in which it is the scores.
    """

    call: CallAgain | ForwardFn
    value: Any
    parts: Mapping[Path, Tensor]
    targets: tuple[Tensor, ...]
    scores: ScoreKind
    heard: bool = True
    form: str = "as it is"

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


def asked_call(again: Replay, batch: EvalBatch, *, forward_fn: ForwardFn | None = None) -> AskedCall:
    """How the scores of a step are asked for outside of it; the module gives them once more.

    Args:
        again: asks the module, inside of ``asked``.
        batch: as the step predicted it.
        forward_fn: a function of the user's that asks it, with the inputs of the batch.

    Raises:
        ValueError: no call of the module gives them, or the function gives others.
    """
    found = _call(again, batch) if forward_fn is None else _by_function(again, batch, forward_fn)
    value = found.call.inputs if isinstance(found.call, CallAgain) else again.inputs
    targets = tuple(parts_of(again.found.given.target).values())
    return AskedCall(found.call, value, _rows(value, batch), targets, found.scores, found.heard, found.form)


def _rows(value: Any, batch: EvalBatch) -> dict[Path, Tensor]:
    parts = {path: part for path, part in parts_of(value).items() if part.ndim and len(part) == batch.size}
    if not parts:
        raise ValueError(
            f"the step gives scores of {batch.size} rows, and its network takes no tensor with a row for each. A "
            "network of tensors is exported, not one of graphs or of lists."
        )
    return parts


def _own(tensor: Tensor, *, few: bool) -> Tensor:
    with torch.inference_mode(False):
        own = (tensor.detach()[:FEW] if few else tensor.detach()).to("cpu", copy=True)
        return own.float() if own.is_floating_point() else own


class _Asked(NamedTuple):
    """A call, or a function; the form and the kind of its scores, and whether the step made it itself."""

    call: CallAgain | ForwardFn
    form: str
    scores: ScoreKind
    heard: bool = True


def _call(again: Replay, batch: EvalBatch) -> _Asked:
    drawn: _Asked | None = None
    for call, heard in _calls(again):
        ask = replace(call, source=replace(call.source, form="as it is"))
        output = ask(again.module)
        for form, scores in _formed(output, again):
            kind = _kind_of(scores, again, batch)
            found = _Asked(replace(call, source=replace(call.source, form=form)), form, kind or _kind(again), heard)
            if kind is not None:
                return found
            # what draws random numbers is exported for the reason of its refusal
            drawn = drawn or (found if not torch.equal(output, ask(again.module)) else None)
    if drawn is not None:
        return drawn
    _check_not_picked(again)
    raise ValueError(f"no call of the module gives the scores of the step, which makes more of them. {CURE}")


def _by_function(again: Replay, batch: EvalBatch, forward_fn: ForwardFn) -> _Asked:
    output: Any = forward_fn(again.module, cloned(again.inputs))
    if not isinstance(output, Tensor):
        raise ValueError(f"`forward_fn` gave a {type(output).__name__}, wanted a tensor of scores.")
    for form, scores in _formed(output, again):
        kind = _kind_of(scores, again, batch)
        if kind is not None:
            return _Asked(forward_fn, form, kind)
    _check_not_picked(again)
    theirs, ours = tuple(output.shape), tuple(again.found.predictions.shape)
    raise ValueError(
        f"`forward_fn` gives other scores {theirs} than the step, {ours}. It is to do all that the step does, from the "
        "inputs of a batch to what its loss takes."
    )


def _check_not_picked(again: Replay) -> None:
    sizes = {len(part) for part in parts_of(again.inputs).values() if part.ndim and len(part)}
    if sizes and all(len(again.found.predictions) % size for size in sizes):
        raise ValueError(
            "the step picks some rows or positions of its scores before the loss. Give the loss all of them, and leave "
            "those out that do not count by its ignore_index."
        )


def _formed(output: Tensor, again: Replay) -> Iterator[tuple[str, Tensor]]:
    """The forms of an output that have the shape of the step's scores."""
    for form in FORMS:
        scores = CallSource("", 0, 1, "", form).of(output)
        if scores is not None and _has_their_shape(scores, again):
            yield form, scores


def _calls(again: Replay) -> Iterator[tuple[CallAgain, bool]]:
    """The call that was heard, and those of the whole module with the inputs of the batch."""
    known = getattr(again.found.again, "call", None)
    if isinstance(known, CallAgain):
        yield known, True
    if again.inputs is None:
        return
    arguments: Any = ((again.inputs,), {})
    try:
        output = again.module(cloned(again.inputs))
    except Exception:  # a module may have no forward, or one that takes something else
        return
    for path, _ in leaves(output, ()):
        yield CallAgain("", CallSource("", 0, 1, path, "as it is"), arguments), False


def _has_their_shape(scores: Tensor, again: Replay) -> bool:
    return scores.shape == again.found.predictions.shape and scores.is_floating_point()


def _kind(again: Replay) -> ScoreKind:
    reading: ClassReading = again.reading  # type: ignore[assignment]
    return again.found.given.form or reading.scores  # type: ignore[return-value]


def _kind_of(scores: Tensor, again: Replay, batch: EvalBatch) -> ScoreKind | None:
    """As what scores of the shape of the step's say the same; None where they say something else.

    A step may take the logarithm of what its network gives as probabilities.
    """
    kinds: tuple[ScoreKind, ...] = ("logits", "probabilities")
    given = _kind(again)
    wanted = probabilities_of(batch.scores, labels=batch.multilabel)
    for kind in sorted(kinds, key=lambda one: one != given):
        read: Any = again.reading.batch(scores.detach(), replace(again.found.given, form=kind), again.rows)
        found = probabilities_of(read.scores, labels=batch.multilabel)
        if found.shape == wanted.shape and torch.allclose(found, wanted, rtol=0, atol=NEAR, equal_nan=True):
            return kind
    return None


def probabilities_of(scores: Tensor, *, labels: bool) -> Tensor:
    """Of rows of logits ``(R, C)``, or of log-odds of labels."""
    wide = scores.double()
    return wide.sigmoid() if labels else wide.softmax(1)
