"""Attribution methods: from a problem to one map for each sample.

Each is a small object with its arguments, and a name under which it is made with the usual ones. Those that need a
gradient at the samples share one forward and one backward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from lightning_posttrain.attribution.problem import Problem


@dataclass(frozen=True)
class Method(ABC):
    """An attribution method.

    Attributes:
        name: under which it is asked for, and found in tags and files.
        title: as people write it.
        valid: the models for which it means something.
        signed: whether positive speaks for, negative against; else only the magnitude counts.
        wants: whose gradients at the samples it reads: ``"inputs"``, ``"layer"``.
        one_pass: whether it takes no more than a forward and a backward of each sample.
        by_row: whether a sample's map is the same whatever other samples are beside it.
        complete: whether its values add up to the change of the output from the baseline.
        instead: what to try where it fails, in words.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    valid: ClassVar[str] = "whatever has gradients"
    signed: ClassVar[bool] = True
    wants: ClassVar[frozenset[str]] = frozenset()
    one_pass: ClassVar[bool] = False
    by_row: ClassVar[bool] = False
    complete: ClassVar[bool] = False
    instead: ClassVar[str] = "integrated gradients"

    @abstractmethod
    def attribute(self, problem: Problem) -> Tensor:
        """Values of the inputs' shape, or maps ``(K, *grid)``."""

    def coarse(self) -> Method:
        """The same at the cost that it begins with, for figures over a whole map."""
        return self


@final
@dataclass(frozen=True)
class Saliency(Method):
    """Gradient (Simonyan et al., 2013, arXiv:1312.6034): where a small change would matter most."""

    name, title, signed, one_pass, by_row = "saliency", "Saliency", False, True, True
    wants = frozenset({"inputs"})

    def attribute(self, problem: Problem) -> Tensor:
        """Gradient."""
        return _required(problem.gradients.inputs)


@final
@dataclass(frozen=True)
class InputXGradient(Method):
    """Input times gradient (Shrikumar et al., 2016, arXiv:1605.01713)."""

    name, title, one_pass, by_row = "input_x_gradient", "Input × gradient", True, True
    wants = frozenset({"inputs"})

    def attribute(self, problem: Problem) -> Tensor:
        """Product."""
        return problem.inputs * _required(problem.gradients.inputs)


def _required(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient
