"""Find the class scores of a batch without a change to the user's module.

``ScoreFinder`` asks, in this order: ``scores_fn``, a usual key of the step's outputs, the tap, and a second
forward. Where more than one tensor could be meant it raises and shows the cure; it does not guess.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.batch import describe
from lightning_posttrain.reading import SCORE_KEYS, Candidate, Reading, leaves, named_parts
from lightning_posttrain.tap import Firing, outermost


@dataclass(frozen=True, eq=False)
class Step:
    """What is known of one step.

    Args:
        outputs: what it returned.
        batch: the batch, as the step left it.
        inputs: the inputs, as the loader gave them.
        target: the targets, as the loader gave them.
        firings: what the tap heard.
        forward: runs the module once more on the inputs.
    """

    outputs: Any
    batch: Any
    inputs: Any
    target: Tensor
    firings: list[Firing]
    forward: Callable[[], Any]

    @property
    def rows(self) -> int:
        """Number of targets."""
        return len(self.target)

    @cached_property
    def called(self) -> list[Firing]:
        """What was heard of the modules that the step itself called."""
        # under DDP the step runs inside the module's __call__, whose hook then sees what the step returned
        return outermost([firing for firing in self.firings if firing[2] is not self.outputs])

    @property
    def went_past_forward(self) -> bool:
        """Whether the step called parts of the module and not the module."""
        return all(name for name, *_ in self.called)


class ScoreFinder:
    """Finds the scores of step after step under one ``Reading``.

    Args:
        reading: what the user said.

    Attributes:
        entry: dotted name of the module that turned the inputs into the scores; "" for the LightningModule.
        names: dotted names of the modules that the step itself called.
    """

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.entry = ""
        self.names: set[str] = set()
        self._choice = ""
        self._warned = False
        self._keys = SCORE_KEYS[reading.scores]

    def find(self, step: Step) -> Tensor:
        """The scores of one step, as the network gave them.

        Raises:
            ValueError: no tensor, or more than one, can be the scores.
        """
        if self.reading.scores_fn is not None:
            return self._given(step)
        scores = self._returned(step)
        if scores is None:
            scores = self._heard(step)
        if scores is None:
            scores = self._asked(step)
        self._note_entry(scores, step)
        return scores

    def pick(self, value: Any, rows: int) -> Tensor:
        """The one tensor in a module's output that can be the scores of ``rows`` rows."""
        found = self._fitting(value, "the module's output", rows)
        if len(found) != 1:
            raise ValueError(_unclear(found, rows) if found else f"no class scores in {describe(value)}")
        return found[0].tensor

    def _given(self, step: Step) -> Tensor:
        assert self.reading.scores_fn is not None
        try:
            scores = self.reading.scores_fn(step.outputs, step.batch)
        except Exception as error:
            raise ValueError(
                f"`scores_fn` raised {type(error).__name__}: {error}. Its arguments are what the step returned, here "
                f"{describe(step.outputs)}, and the batch, here {describe(step.batch)}."
            ) from error
        if not isinstance(scores, Tensor) or not self.reading.fits(scores, step.rows):
            raise ValueError(f"`scores_fn` returned {describe(scores)}, wanted {self._wanted(step.rows)}.")
        return scores

    def _returned(self, step: Step) -> Tensor | None:
        outputs, rows = step.outputs, step.rows
        if isinstance(outputs, Tensor):
            return outputs if self.reading.fits(outputs, rows) else None
        parts = named_parts(outputs)
        named = (parts[key] for key in self._keys if key in parts and isinstance(parts[key], Tensor))
        return next((tensor for tensor in named if self.reading.fits(tensor, rows)), None)

    def _heard(self, step: Step) -> Tensor | None:
        found = self._final(step)
        if not found:
            return None
        chosen = next((c for c in found if c.origin == self._choice), None)
        if chosen is None:
            chosen = self._undoubted(found[0], step) if len(found) == 1 else self._told_apart(found, step)
            self._choice = chosen.origin
        return chosen.tensor

    def _undoubted(self, candidate: Candidate, step: Step) -> Candidate:
        """The only candidate, unless the module's own forward, which the step went past, gives other columns."""
        reference = self._by_forward(step) if step.went_past_forward else None
        if reference is None or reference.tensor.shape[1:] == candidate.tensor.shape[1:]:
            return candidate
        raise ValueError(_unclear([candidate, reference], step.rows))

    def _told_apart(self, found: list[Candidate], step: Step) -> Candidate:
        """The candidate that the module's own forward gives, or any where all are equal."""
        reference = self._by_forward(step) if step.went_past_forward else found[-1]
        if reference is None:
            raise ValueError(_unclear(found, step.rows))
        equal = [candidate for candidate in found if _same(candidate.tensor, reference.tensor)]
        if not equal or (not step.went_past_forward and len(equal) < len(found)):
            raise ValueError(_unclear(found if equal else [*found, reference], step.rows))
        return equal[-1]

    def _by_forward(self, step: Step) -> Candidate | None:
        """What the module gives when it is run once more, if that can be done and is clear."""
        try:
            return Candidate("`forward`, run once more,", self.pick(step.forward(), step.rows))
        except Exception:  # whatever the user's forward raises means the same: no help from it
            return None

    def _final(self, step: Step) -> list[Candidate]:
        """Fitting outputs of the modules that the step itself called, without features that a head took in."""
        self.names.update(name for name, *_ in step.called)
        calls: dict[str, int] = {}
        found: dict[int, Candidate] = {}
        for name, args, output in step.called:
            calls[name] = calls.get(name, 0) + 1
            again = f" (call {calls[name]})" if calls[name] > 1 else ""
            fitting = self._fitting(output, f"`{name or 'forward'}`{again}", step.rows)
            taken = next((found[id(arg)].tensor for arg in args if id(arg) in found), None)
            # told the true class, it is a loss or a head with a margin; of the shape of what it took in, a softmax
            told = any(arg is step.target for arg in args)
            if told or any(taken is not None and c.tensor.shape == taken.shape for c in fitting):
                continue
            if taken is not None and fitting:
                found.pop(id(taken))
            found.update({id(candidate.tensor): candidate for candidate in fitting})
        return list(found.values())

    def _asked(self, step: Step) -> Tensor:
        wanted = f"no class scores found, wanted {self._wanted(step.rows)}"
        try:
            value = step.forward()
        except Exception as error:
            shown = ", ".join(f"`{name or 'forward'}`: {describe(output)}" for name, _, output in step.called)
            raise ValueError(
                f"{wanted}. The step returned {describe(step.outputs)}; modules in it gave {shown or 'nothing'}; "
                f"calling the module on the batch's inputs raised {type(error).__name__}: {error}. {_CURE}"
            ) from error
        found = self._fitting(value, "the module's output", step.rows)
        if len(found) != 1:
            shown = ", ".join(describe(leaf.tensor) for leaf in leaves(value, self._keys, "")) or describe(value)
            nothing = f"{wanted}; the module gave {shown}. {_CURE}"
            raise ValueError(_unclear(found, step.rows) if found else nothing)
        self._warn_of_second_forward()
        return found[0].tensor

    def _warn_of_second_forward(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                "lightning_posttrain saw no class scores in the step and runs the module a second time on every "
                "batch. The figures are those of module(inputs), whatever else the step does. To have the step's own, "
                f'and to save the time, return {{"logits": logits}} from it. {_CURE}',
                stacklevel=2,
            )

    def _fitting(self, value: Any, origin: str, rows: int) -> list[Candidate]:
        found = leaves(value, self._keys, origin)
        if rows == 1 and self.reading.task == "binary":  # squeezed, in a last batch of one row
            found = (Candidate(leaf.origin, _unsqueezed(leaf.tensor)) for leaf in found)
        return [leaf for leaf in found if self.reading.fits(leaf.tensor, rows)]

    def _note_entry(self, scores: Tensor, step: Step) -> None:
        for name, args, output in step.firings:
            taken = any(arg is step.inputs for arg in args)
            if taken and any(leaf.tensor is scores for leaf in leaves(output, (), "")):
                self.entry = name

    def _wanted(self, rows: int) -> str:
        classes = "C" if self.reading.num_classes is None else str(self.reading.num_classes)
        shape = f"({rows},), ({rows}, 1) or ({rows}, 2)" if self.reading.task == "binary" else f"({rows}, {classes})"
        return f"floating-point {self.reading.scores} of shape {shape} for task={self.reading.task!r}"


_CURE = (
    "Otherwise pass scores_fn=lambda outputs, batch: ... to say which tensor holds the class scores, "
    "num_classes=... if that tells them apart, or task='binary' for one score a row."
)


def _unclear(found: list[Candidate], rows: int) -> str:
    shown = ", ".join(f"{c.origin} {tuple(c.tensor.shape)}" for c in found)
    return (
        f"cannot tell which output holds the class scores of {rows} rows: {shown}. "
        f'Return {{"logits": logits}} from the step. {_CURE}'
    )


def _unsqueezed(tensor: Tensor) -> Tensor:
    return tensor[None] if tensor.ndim == 0 else tensor


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5, equal_nan=True)
