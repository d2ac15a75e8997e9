"""How far training figures are ahead of validation figures, over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning_posttrain.results.base import Counted, undefined_to_none

LOWER_IS_BETTER = ("log_loss", "brier", "ece", "hamming_loss")


class Pair(NamedTuple):
    """A figure of training and of validation after the same epoch."""

    epoch: int
    train: float
    val: float

    @property
    def gap(self) -> float:
        """Training minus validation."""
        return self.train - self.val


@dataclass(frozen=True, eq=False)
class GapHistory(Counted):
    """Figures of training and validation over epochs.

    Args:
        history: by figure, one pair for each epoch that had both, oldest first.
        patience: how many epochs without a better validation count as a standstill.
    """

    history: Mapping[str, tuple[Pair, ...]]
    patience: int

    def scalars(self) -> dict[str, float]:
        """The last gap of each figure, training minus validation."""
        return {name: pairs[-1].gap for name, pairs in self.history.items() if pairs}

    @property
    def alerts(self) -> tuple[str, ...]:
        """Figures whose gap widens while validation stands still."""
        return tuple(text for name in self.history if (text := self._widening(name)))

    def best(self, name: str) -> Pair:
        """The epoch with the best validation figure, the first of equal ones."""
        sign = -1 if name.startswith(LOWER_IS_BETTER) else 1
        return max(self.history[name], key=lambda pair: (sign * pair.val, -pair.epoch))

    def _widening(self, name: str) -> str:
        pairs = self.history[name]
        if not pairs:
            return ""
        last, best = pairs[-1], self.best(name)
        since = sum(pair.epoch > best.epoch for pair in pairs)
        wider = abs(last.gap) > 1.2 * abs(best.gap) + 1e-3 and self._ahead(name, last)
        if since < self.patience or not wider:
            return ""
        return (
            f"{name} has not improved since epoch {best.epoch} ({best.val:.4f}), while the gap between training and "
            f"validation went from {abs(best.gap):.4f} to {abs(last.gap):.4f}: the model learns the training set by "
            "heart. Keep the weights of that epoch, or regularise more"
        )

    def _ahead(self, name: str, pair: Pair) -> bool:
        return pair.gap < 0 if name.startswith(LOWER_IS_BETTER) else pair.gap > 0

    def to_dict(self) -> dict[str, Any]:
        """Epoch, training and validation figure of each epoch."""
        keys = ("epoch", "train", "val")
        series = {name: [dict(zip(keys, pair, strict=True)) for pair in pairs] for name, pairs in self.history.items()}
        figures: dict[str, Any] = undefined_to_none({"history": series, "notes": self.notes})
        return figures
