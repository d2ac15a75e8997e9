"""The scores of a step, asked for again of the module as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor, nn

from lightning_posttrain.classification.heard.arranged import arranged
from lightning_posttrain.classification.tasks import Task
from lightning_posttrain.core.capture.batch_parts import PartSource, cloned
from lightning_posttrain.core.capture.call_again import CallAgain, before, call_again
from lightning_posttrain.core.capture.leaves import leaves
from lightning_posttrain.core.capture.step import Step

Arrange = Callable[[Tensor], Tensor]
"""From a tensor that a module gave to scores as a reading takes them."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores."


class Means(Protocol):
    """What says what scores and their targets mean."""

    @property
    def task(self) -> Task:
        """Of the scores."""

    @property
    def source(self) -> PartSource | None:
        """Of the target."""


@dataclass(frozen=True, eq=False)
class StepAgain:
    """From a module to its scores for the batch of one step, in the form of those that were found in the step.

    The call of the network that gave them is made again, with its own arguments; where there is none, or it was fed by
    other modules, the whole module is called with the inputs of the batch.

    Args:
        step: whose scores they are.
        inputs: of the batch, or None.
        prediction: as a module gave it.
        scores: the same as it was found.
        arrange: from the one to the other.
        pick: the scores in what the whole module gives.
        alone: whether the call of the network may be made again.
    """

    step: Step
    inputs: Any
    prediction: Tensor
    scores: Tensor
    arrange: Arrange
    pick: Callable[[Any], Tensor]
    alone: bool = True

    @cached_property
    def call(self) -> CallAgain | None:
        """That of the network, or None."""
        return call_again(self.prediction, self.step) if self.alone else None

    def __call__(self, module: nn.Module) -> Tensor:
        """The scores, from the module as it is.

        Raises:
            ValueError: what it gives holds no such scores.
        """
        if self.call is not None:
            return self.arrange(self.call(module))
        if self.inputs is None:
            raise ValueError(f"the step does not tell how its scores come from its batch. {CURE}")
        output = module(cloned(before(self.inputs, self.step.parts, self.step.before)))
        found = [scores for _, tensor in leaves(output, ()) for scores in self._alike(tensor)]
        scores = found[0] if len(found) == 1 else self.pick(output)
        if scores.shape != self.scores.shape:
            raise ValueError(
                f"the module gives scores {tuple(scores.shape)} where the step has {tuple(self.scores.shape)}. {CURE}"
            )
        return scores

    def _alike(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of a module's output in the form of the scores, where it can have that."""
        try:
            found = self.arrange(tensor)
        except (RuntimeError, IndexError):  # of other rows
            return []
        return [found] if found.shape == self.scores.shape and found.is_floating_point() else []


def arranger(of: Means, target: Tensor) -> Arrange:
    """The form of scores that go with a target."""
    return lambda prediction: arranged(prediction.detach(), target, of.task, of.source)[0]


def as_it_is(prediction: Tensor) -> Tensor:
    """Scores that were found in the form in which a module gave them."""
    return prediction
