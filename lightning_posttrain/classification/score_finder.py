"""Find the class scores of a batch without a change to the user's module.

``ScoreFinder`` asks, in this order: ``scores_fn``, a usual key of the step's outputs, the tap, and a second
forward. Where more than one tensor could be meant it raises and shows the cure; it does not guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_posttrain.classification.score_candidates import (
    CURE,
    Candidate,
    is_hard,
    is_squashed,
    unclear,
    unsqueezed,
    warn_of_second_forward,
)
from lightning_posttrain.classification.score_keys import HINT_KEYS, SAID_KEYS, leaves, named_parts
from lightning_posttrain.classification.tasks import labels_hint, wanted_shape
from lightning_posttrain.core.capture.memory import is_of
from lightning_posttrain.core.capture.step import Step, same
from lightning_posttrain.core.capture.tap import Firing
from lightning_posttrain.core.capture.target_and_inputs import describe

if TYPE_CHECKING:
    from lightning_posttrain.classification.reading import ClassReading


class ScoreFinder:
    """Finds the scores of step after step under one ``ClassReading``.

    Args:
        reading: what the user said.

    Attributes:
        entry: dotted name of the module that turned the inputs into the scores; "" for the LightningModule.
    """

    def __init__(self, reading: ClassReading) -> None:
        self.reading = reading
        self.entry = ""
        self._choice = ""
        self._among: frozenset[str] = frozenset()
        self._squashed = ""
        self._warned = False
        self._keys = (*SAID_KEYS[reading.scores], *HINT_KEYS)

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

    def pick(self, value: Any, shape: torch.Size) -> Tensor:
        """The one tensor in a module's output that can be the scores for targets of a shape."""
        found = self._fitting("", value, shape)
        if len(found) != 1:
            raise ValueError(unclear(found, shape) if found else f"no class scores in {describe(value)}")
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
        if not isinstance(scores, Tensor) or not self.reading.fits(scores, step.shape):
            raise ValueError(f"`scores_fn` returned {describe(scores)}, wanted {self._wanted(step.shape)}.")
        return scores

    def _returned(self, step: Step) -> Tensor | None:
        """Scores among what the step returned: believed under a key that says so, else if no module contradicts."""
        parts = {"": step.outputs} if isinstance(step.outputs, Tensor) else named_parts(step.outputs)
        keys = ("", *self._keys)
        there = [
            key for key in keys if isinstance(parts.get(key), Tensor) and self.reading.fits(parts[key], step.shape)
        ]
        if not there:
            return None
        key = next((key for key in there if key in SAID_KEYS[self.reading.scores]), there[0])
        scores: Tensor = parts[key]
        if key in SAID_KEYS[self.reading.scores] or self._choice == "returned":
            return scores
        heard = self._final(step)
        logits = [c for c in heard if c.origin == self._squashed or self._is_squashed(scores, c)]
        if logits:
            return logits[-1].tensor if self.reading.scores == "logits" else scores
        alike = [c for c in heard if self._agree(scores, c.tensor)]
        if alike and is_hard(scores):  # classes, told as numbers: their scores are the module's
            return alike[-1].tensor
        if heard and not alike:
            returned = Candidate("the step's return", f"[{key!r}]" if key else "", scores)
            raise ValueError(unclear([returned, *heard], step.shape))
        self._choice = "returned" if not heard or self._tells(scores) else ""
        return scores

    def _is_squashed(self, scores: Tensor, candidate: Candidate) -> bool:
        """Whether scores are a softmax or sigmoid of what a module gave; looked at until a batch can tell."""
        found = not self._squashed and is_squashed(scores, candidate.tensor, self.reading.task)
        if found and self._tells(scores):
            self._squashed = candidate.origin
        return found

    def _heard(self, step: Step) -> Tensor | None:
        found = self._final(step)
        if not found:
            return None
        among = frozenset(candidate.origin for candidate in found)
        chosen = next((c for c in found if c.origin == self._choice and among == self._among), None)
        if chosen is None:
            chosen = self._undoubted(found[0], step) if len(found) == 1 else self._told_apart(found, step)
            # calls that are equal before training may differ later, and constant predictions say nothing yet
            own = sum(candidate.module == "" for candidate in found)
            clear = own == 1 or (step.went_past_forward and self._tells(chosen.tensor))
            self._choice, self._among = (chosen.origin if clear else ""), among
        return chosen.tensor

    def _undoubted(self, candidate: Candidate, step: Step) -> Candidate:
        """The only candidate, unless the module's own forward, which the step went past, predicts otherwise."""
        reference = self._by_forward(step)[0] if step.went_past_forward else None
        if reference is None or self._agree(reference.tensor, candidate.tensor):
            return candidate
        raise ValueError(unclear([candidate, reference], step.shape))

    def _told_apart(self, found: list[Candidate], step: Step) -> Candidate:
        """The candidate that the module's own forward gives, or the last of equal calls of one module."""
        if step.went_past_forward:
            return self._like_forward(found, step)
        last = found[-1]
        equal = all(same(candidate.tensor, last.tensor) for candidate in found)
        own = [candidate for candidate in found if candidate.module == ""] or found
        if not equal or len({(candidate.module, candidate.path) for candidate in own}) != 1:
            raise ValueError(unclear(found, step.shape))
        return own[-1]

    def _like_forward(self, found: list[Candidate], step: Step) -> Candidate:
        reference, givers = self._by_forward(step)
        if reference is None:
            raise ValueError(unclear(found, step.shape))
        equal = [candidate for candidate in found if same(candidate.tensor, reference.tensor)]
        # a copy, as a teacher or a second head before training, may give the same
        equal = [candidate for candidate in equal if candidate.module in givers] or equal
        if not equal:
            raise ValueError(unclear([*found, reference], step.shape))
        return equal[-1]

    def _by_forward(self, step: Step) -> tuple[Candidate | None, set[str]]:
        """What the module gives when it is run once more, and the parts that gave it; None if that is not clear."""
        try:
            value, firings = step.forward()
            scores = self.pick(value, step.shape)
        except Exception:  # whatever the user's forward raises means the same: no help from it
            return None, set()
        givers = {f.name for f in firings if any(tensor is scores for _, tensor in leaves(f.output, ()))}
        return Candidate("", "", scores, ", run once more,"), givers

    def _final(self, step: Step) -> list[Candidate]:
        """Fitting outputs of the modules that the step called, without features that a head took in."""
        return self._untaken(step.called, step) or self._untaken(step.called_by_forward, step)

    def _untaken(self, firings: list[Firing], step: Step) -> list[Candidate]:
        calls: dict[str, int] = {}
        found: list[Candidate] = []
        told: list[Candidate] = []
        standing: list[tuple[Tensor, Candidate]] = []  # what kept the shape of a candidate stands for it
        for firing in firings:
            calls[firing.name] = calls.get(firing.name, 0) + 1
            again = f" (call {calls[firing.name]})" if calls[firing.name] > 1 else ""
            fitting = self._fitting(firing.name, firing.output, step.shape, again)
            knows = any(arg is step.target for arg in firing.args)
            args = [tensor for _, tensor in leaves(firing.args, ())]
            here = [(candidate.tensor, candidate) for candidate in found] + standing
            taken = [candidate for tensor, candidate in here if any(is_of(arg, tensor) for arg in args)]
            sizes = {candidate.tensor.numel() for candidate in taken}
            kept = [candidate for candidate in fitting if candidate.tensor.numel() in sizes]
            if kept and (knows or not firing.mixes):  # a loss for each score; a softmax, a temperature
                standing += [(candidate.tensor, taken[0]) for candidate in kept]
                continue
            if knows:  # it was told the true class: perhaps it puts a margin on it
                told += [*taken, *fitting]
            elif fitting and not kept:  # a head: what it took in are features
                found = [candidate for candidate in found if candidate not in taken]
            found = [candidate for candidate in found if all(candidate.tensor is not c.tensor for c in fitting)]
            found += fitting
        return [candidate for candidate in found if candidate not in told] or found

    def _asked(self, step: Step) -> Tensor:
        wanted = f"{labels_hint(step.shape, self.reading.task)}no class scores found, wanted {self._wanted(step.shape)}"
        try:
            value, _ = step.forward()
        except Exception as error:
            shown = ", ".join(f"`{firing.name or 'forward'}`: {describe(firing.output)}" for firing in step.called)
            raise ValueError(
                f"{wanted}. The step returned {describe(step.outputs)}; modules in it gave {shown or 'nothing'}; "
                f"calling the module on the batch's inputs raised {type(error).__name__}: {error}. {CURE}"
            ) from error
        found = self._fitting("", value, step.shape)
        if len(found) != 1:
            shown = ", ".join(describe(tensor) for _, tensor in leaves(value, self._keys)) or describe(value)
            nothing = f'{wanted}; the module gave {shown}. Return {{"logits": logits}} from the step. {CURE}'
            raise ValueError(unclear(found, step.shape) if found else nothing)
        if not self._warned:
            self._warned = True
            warn_of_second_forward()
        return found[0].tensor

    def _fitting(self, module: str, value: Any, shape: torch.Size, remark: str = "") -> list[Candidate]:
        squeezed = shape == (1,) and self.reading.task == "binary"  # in a last batch of one row
        found = [(path, unsqueezed(t) if squeezed else t) for path, t in leaves(value, self._keys)]
        return [Candidate(module, path, t, remark) for path, t in found if self.reading.fits(t, shape)]

    def _agree(self, a: Tensor, b: Tensor) -> bool:
        """Whether two tensors that could be scores predict the same classes."""
        first, second = self.reading.predicted(a), self.reading.predicted(b)
        return first.shape == second.shape and torch.equal(first, second)

    def _tells(self, scores: Tensor) -> bool:
        """Whether scores predict more than one class, so that agreement with them means something."""
        predicted = self.reading.predicted(scores).flatten()
        return bool((predicted != predicted[0]).any())

    def _note_entry(self, scores: Tensor, step: Step) -> None:
        for firing in step.firings:
            taken = any(arg is step.inputs for arg in firing.args)
            if taken and any(tensor is scores for _, tensor in leaves(firing.output, ())):
                self.entry = firing.name

    def _wanted(self, target: torch.Size) -> str:
        shape = wanted_shape(target, self.reading.task, self.reading.num_classes)
        return f"floating-point {self.reading.scores} of shape {shape} for task={self.reading.task!r}"
