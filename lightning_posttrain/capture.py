"""Find the class scores of a batch without a change to the user's module.

``ScoreFinder`` asks, in this order: ``scores_fn``, a usual key of the step's outputs, the tap, and a second
forward. Where more than one tensor could be meant it raises and shows the cure; it does not guess.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_posttrain.batch import describe, to_logits
from lightning_posttrain.reading import SCORE_KEYS, Candidate, Reading, leaves
from lightning_posttrain.tap import Firing


class ScoreFinder:
    """Finds the scores of batch after batch under one ``Reading``.

    Args:
        reading: what the user said.
    """

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.entry = ""
        """Dotted name of the module that turned the batch's inputs into the scores."""
        self._choice = ""
        self._keys = SCORE_KEYS[reading.scores]

    def find(
        self,
        outputs: Any,
        batch: Any,
        inputs: Any,
        rows: int,
        firings: list[Firing],
        forward: Callable[[], Any],
    ) -> Tensor:
        """The scores of one batch, as the network gave them.

        Args:
            outputs: what the step returned.
            batch: the batch.
            inputs: the inputs in it.
            rows: its number of targets.
            firings: what the tap heard.
            forward: runs the module once more on the inputs.

        Raises:
            ValueError: no tensor, or more than one, can be the scores.
        """
        if self.reading.scores_fn is not None:
            return self._given(self.reading.scores_fn(outputs, batch), rows)
        scores = self._returned(outputs, rows)
        if scores is None:
            scores = self._heard(outputs, rows, firings, forward)
        if scores is None:
            scores = self._asked(outputs, rows, firings, forward)
        self._note_entry(scores, inputs, firings)
        return scores

    def pick(self, value: Any, rows: int) -> Tensor:
        """The one tensor in a module's output that can be the scores of ``rows`` rows."""
        found = self._fitting(value, "the module's output", rows)
        if len(found) != 1:
            raise ValueError(_unclear(found, rows) if found else f"no class scores in {describe(value)}")
        return found[0].tensor

    def _given(self, scores: Any, rows: int) -> Tensor:
        if not isinstance(scores, Tensor) or not self.reading.fits(scores, rows):
            raise ValueError(f"`scores_fn` returned {describe(scores)}, wanted {self._wanted(rows)}.")
        return scores

    def _returned(self, outputs: Any, rows: int) -> Tensor | None:
        if isinstance(outputs, Mapping):
            named = (outputs[key] for key in self._keys if key in outputs)
            tensors = (value for value in named if isinstance(value, Tensor))
            return next((tensor for tensor in tensors if self.reading.fits(tensor, rows)), None)
        bare = isinstance(outputs, Tensor) and self.reading.fits(outputs, rows)
        return outputs if bare else None

    def _heard(self, outputs: Any, rows: int, firings: list[Firing], forward: Callable[[], Any]) -> Tensor | None:
        found = self._final(outputs, rows, firings)
        if len(found) <= 1:
            return found[0].tensor if found else None
        chosen = next((c for c in found if c.origin == self._choice), None)
        if chosen is None:
            chosen = self._told_apart(found, firings, rows, forward)
            self._choice = chosen.origin
        return chosen.tensor

    def _final(self, outputs: Any, rows: int, firings: list[Firing]) -> list[Candidate]:
        """Fitting outputs that no later module took in: not what is inside the forward, nor features."""
        # under DDP the step itself runs inside the module's __call__, whose hook then sees its return value
        firings = [firing for firing in firings if firing[2] is not outputs]
        roots = [i for i, (name, *_) in enumerate(firings) if name == ""]
        last = roots[-1] if roots else -1
        outer = [firing for i, firing in enumerate(firings) if firing[0] == "" or i > last]
        calls: dict[str, int] = {}
        found: dict[int, Candidate] = {}
        for name, argument, output in outer:
            calls[name] = calls.get(name, 0) + 1
            again = f" (call {calls[name]})" if calls[name] > 1 else ""
            fitting = self._fitting(output, f"`{name or 'forward'}`{again}", rows)
            if fitting:  # a loss takes the scores in, too, but gives none
                found.pop(id(argument), None)
            found.update({id(candidate.tensor): candidate for candidate in fitting})
        return list(found.values())

    def _told_apart(
        self, found: list[Candidate], firings: list[Firing], rows: int, forward: Callable[[], Any]
    ) -> Candidate:
        """The candidate that the module's own forward gives, or all of them where they are equal."""
        reference = found[-1].tensor
        if not any(name == "" for name, *_ in firings):
            try:
                reference = self.pick(forward(), rows)
            except Exception as error:  # whatever the user's forward raises means the same: no help from it
                raise ValueError(_unclear(found, rows)) from error
            found = [candidate for candidate in found if _same(candidate.tensor, reference)]
        elif not all(_same(candidate.tensor, reference) for candidate in found):
            raise ValueError(_unclear(found, rows))
        if not found:
            raise ValueError(_unclear([Candidate("`forward`", reference)], rows))
        return found[-1]

    def _asked(self, outputs: Any, rows: int, firings: list[Firing], forward: Callable[[], Any]) -> Tensor:
        heard = ", ".join(f"`{name or 'forward'}`: {describe(output)}" for name, _, output in firings)
        try:
            value = forward()
        except Exception as error:
            raise ValueError(
                f"no class scores found, wanted {self._wanted(rows)}. The step returned {describe(outputs)}; "
                f"modules called in it gave {heard or 'nothing'}; calling the module on the batch's inputs "
                f"raised {type(error).__name__}: {error}. {_CURE}"
            ) from error
        found = self._fitting(value, "the module's output", rows)
        if len(found) != 1:
            shown = ", ".join(describe(leaf.tensor) for leaf in leaves(value, self._keys, "")) or describe(value)
            nothing = f"no class scores found, wanted {self._wanted(rows)}; the module gave {shown}. {_CURE}"
            raise ValueError(_unclear(found, rows) if found else nothing)
        if self._choice != "second forward":
            self._choice = "second forward"
            warnings.warn(
                "lightning_posttrain saw no class scores and runs the module a second time on every batch. "
                f'To save that time, return {{"logits": logits}} from the step. {_CURE}',
                stacklevel=2,
            )
        return found[0].tensor

    def _fitting(self, value: Any, origin: str, rows: int) -> list[Candidate]:
        return [leaf for leaf in leaves(value, self._keys, origin) if self.reading.fits(leaf.tensor, rows)]

    def _note_entry(self, scores: Tensor, inputs: Any, firings: list[Firing]) -> None:
        for name, argument, output in firings:
            if argument is inputs and any(leaf.tensor is scores for leaf in leaves(output, (), "")):
                self.entry = name

    def _wanted(self, rows: int) -> str:
        classes = "C" if self.reading.num_classes is None else str(self.reading.num_classes)
        shape = (
            f"({rows},), ({rows}, 1) or ({rows}, 2)" if self.reading.task == "binary" else f"({rows}, {classes})"
        )
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


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5, equal_nan=True)


def second_forward(trainer: Trainer, module: LightningModule, inputs: Any) -> Callable[[], Any]:
    """A function that runs the module on the inputs as its step would, and leaves the RNGs alone."""

    def forward() -> Any:
        if inputs is None:
            raise ValueError("no inputs found in the batch; pass inputs_fn=lambda batch: ...")
        with torch.no_grad(), isolate_rng(), trainer.precision_plugin.forward_context():
            return module(inputs)

    return forward


def scorer(
    module: LightningModule, finder: ScoreFinder | None, reading: Reading, num_classes: int
) -> Callable[[Any], Tensor]:
    """A function from inputs to logits, through the module that the step itself gives them to."""
    entry = module.get_submodule(finder.entry if finder else "")
    picker = ScoreFinder(replace(reading, num_classes=num_classes))

    def scores(inputs: Any) -> Tensor:
        return to_logits(picker.pick(entry(inputs), len(inputs)), reading.task, reading.scores)

    return scores
