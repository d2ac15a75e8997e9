"""Two runs on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_posttrain.classification.result.predictions import Predictions
from lightning_posttrain.core.statistics.paired import PairedShares, paired_shares


@dataclass(frozen=True)
class PairedAccuracy:
    """The accuracy of a second run less that of a first, on the rows that both predicted.

    Args:
        rows: how many.
        first: accuracy of the first.
        second: accuracy of the second.
        shares: the difference, its 95 % interval, and the p of McNemar's exact test.
    """

    rows: int
    first: float
    second: float
    shares: PairedShares


def paired_accuracy(first: Predictions, second: Predictions) -> PairedAccuracy:
    """Compare two runs row by row, which is about twice as sharp as by the intervals of each.

    Args:
        first: as ``result_of(RunFolder(run).record("test", "predictions"))`` gives it.
        second: of another run on the same dataset.

    Raises:
        ValueError: the runs were not on the same rows, or that is not known.

    Example:
        >>> import torch
        >>> seen = torch.ones(4, dtype=torch.bool)
        >>> right = [torch.tensor(bits).bool() for bits in ([1, 0, 0, 1], [1, 1, 1, 1])]
        >>> runs = [Predictions(("cat", "dog"), 4, seen, bits, 7) for bits in right]
        >>> found = paired_accuracy(*runs)
        >>> found.first, found.second, found.shares.p
        (0.5, 1.0, 0.5)
    """
    (ours, seen), (theirs, _) = _bits("first", first), _bits("second", second)
    if len(ours) != len(theirs) or first.targets_crc32 != second.targets_crc32:
        raise ValueError(
            f"`first` is of {len(ours):,} samples and `second` of {len(theirs):,}, and their classes are "
            f"{'the same' if first.targets_crc32 == second.targets_crc32 else 'others'}; wanted the same rows. "
            "Test both on one dataset, all of it."
        )
    ours, theirs = ours[seen], theirs[seen]
    rows = len(ours)
    cells = [int((one & other).sum()) for one in (ours, ~ours) for other in (theirs, ~theirs)]
    both, first_alone, second_alone, neither = cells
    shares = paired_shares(both, first_alone, second_alone, neither)
    return PairedAccuracy(rows, (both + first_alone) / max(rows, 1), (both + second_alone) / max(rows, 1), shares)


def _bits(argument: str, run: Predictions) -> tuple[Tensor, Tensor]:
    if run.right is None or run.seen is None:
        why = run.reason or "positions in the dataset are not known"
        raise ValueError(
            f"`{argument}` says of no row whether it was right: {why}. Pair runs on a dataset with positions."
        )
    return run.right, run.seen
