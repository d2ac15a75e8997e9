"""The comparison of two models over all batches of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity.counts import ParityCounts
from lightning_posttrain.export.parity.margins import margins
from lightning_posttrain.export.parity.tolerance import Precision, check_precision
from lightning_posttrain.export.signature import Array


@final
class ParitySums:
    """Adds up, batch by batch, how the answers of an exported model differ from those of the tested one.

    Memory is bounded: figures, a histogram, and at most 65,536 margins of flips.

    Args:
        precision: of the exported model: ``"float32"``, ``"half"`` (bfloat16 or float16) or ``"int8"``.
        decision: how probabilities decide. Where these are the calibrated ones, margins are not known from them: give
            ``margin`` with each batch, or every flip counts as one that is no tie.

    Raises:
        ValueError: ``precision`` is another.

    Example:
        >>> import numpy as np
        >>> sums = ParitySums("float32", decision=Decision("multiclass", ("cat", "dog")))
        >>> tested = Outputs(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))
        >>> sums.add(tested, Outputs(np.array([[0.46875, 0.53125], [0.25, 0.75]]), np.array([1, 1])))
        >>> sums.counts.flips, sums.counts.no_ties, sums.counts.largest
        (1, 0, 0.03125)
    """

    def __init__(self, precision: Precision, *, decision: Decision | None = None) -> None:
        check_precision(precision)
        self.precision: Precision = precision
        self.decision = decision
        self.counts = ParityCounts()

    def add(
        self, reference: Outputs, got: Outputs, *, margin: Array | None = None, target: Array | None = None
    ) -> None:
        """Add a batch.

        Args:
            reference: answers of the tested model.
            got: of the exported one, for the same rows.
            margin: of each decision of the tested model, in probabilities, as ``margins`` gives.
            target: in the shape of the decision; negative ones are not counted.

        Raises:
            ValueError: shapes differ.
        """
        known = self.decision
        if margin is None and known is not None and known.calibration is None:
            margin = margins(reference.probabilities, known)
        self.counts = self.counts + ParityCounts.of(reference, got, margin=margin, target=target)

    def to_sums(self) -> dict[str, Any]:
        """Plain values, for other ranks."""
        return {"precision": self.precision, **self.counts.to_dict()}

    @classmethod
    def merged(cls, parts: Iterable[Mapping[str, Any]]) -> ParitySums:
        """The sums of all ranks.

        Args:
            parts: what ``to_sums`` gave on each, at least one.

        Raises:
            ValueError: there is none, or they are of different precisions.
        """
        listed = [dict(part) for part in parts]
        found = {part.pop("precision") for part in listed}
        if len(found) != 1:
            raise ValueError(f"`parts` are of precisions {sorted(found)}, wanted one. Merge the parts of one format.")
        whole = cls(found.pop())
        whole.counts = sum(map(ParityCounts.from_dict, listed), ParityCounts())
        return whole
