"""What a server needs of a model, and of a watch over its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from lightning_posttrain.export import Decision, Manifest, Signature

Array = NDArray[Any]
Row = Mapping[str, Array]
"""One row of each input, by name, without the dimension of the batch."""


class Answered(Protocol):
    """Answers of a model for a batch."""

    @property
    def probabilities(self) -> Array:
        """By class or label, ``(N, C, ...)``."""
        ...

    @property
    def decision(self) -> Array:
        """Index of the class ``(N, ...)``, or -1 for no answer; of labels 0 or 1, ``(N, L, ...)``."""
        ...


class Answering(Protocol):
    """A model that answers, as ``export.load`` gives."""

    @property
    def manifest(self) -> Manifest:
        """What the exported folder says of itself."""
        ...

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        ...

    @property
    def decision(self) -> Decision:
        """How its probabilities become answers."""
        ...

    def run(self, inputs: Mapping[str, Array], /) -> Answered:
        """Answers for a batch that is as ``signature`` says."""
        ...


class Watch(Protocol):
    """Says whether answers are distributed as they were when the model was tested."""

    def add(self, probabilities: Array, decision: Array) -> None:
        """Take the answers of a batch."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Its figures and their limits, by name."""
        ...

    def words(self) -> str:
        """What the figures amount to."""
        ...
