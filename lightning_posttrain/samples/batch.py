"""What the choice of samples asks of a batch."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class ScoredBatch(Protocol):
    """A batch whose rows have scores and a class, or several labels."""

    @property
    def inputs(self) -> Any:
        """A tensor ``(N, ...)``, where they can be explained."""

    @property
    def context(self) -> tuple[Tensor, ...]:
        """What the network was given beside, row by row, each ``(N, ...)``."""

    @property
    def index(self) -> Tensor | None:
        """Position in the dataset ``(N,)``, or None."""

    @property
    def scores(self) -> Tensor:
        """Logits ``(N, C)``."""

    @property
    def target(self) -> Tensor:
        """Class index ``(N,)``; for multilabel 0 or 1 ``(N, C)``."""

    @property
    def predicted(self) -> Tensor:
        """Predicted class, of the shape of ``target``."""

    @property
    def counted(self) -> Tensor:
        """True for what enters a figure, of the shape of ``target``."""

    @property
    def num_classes(self) -> int:
        """``C``."""

    @property
    def single(self) -> bool:
        """Whether the scores of two classes are minus and plus a half of the one logit that the network gave."""

    @property
    def multilabel(self) -> bool:
        """Whether each row has any number of labels."""
