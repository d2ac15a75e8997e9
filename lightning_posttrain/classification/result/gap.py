"""How far training figures are ahead of validation figures, over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from lightning_posttrain.core.output.result import Counted, undefined_to_none

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
        patience: for how many epochs in a row validation must be worse than its best to speak of overfitting.
        rows: rows of the validation, which tell what is chance.
    """

    recorded_as: ClassVar[str] = "generalization_gap"

    history: Mapping[str, tuple[Pair, ...]]
    patience: int
    rows: int

    def scalars(self) -> dict[str, float]:
        """The last gap of each figure, training minus validation."""
        return {name: pairs[-1].gap for name, pairs in self.history.items() if pairs}

    @property
    def alerts(self) -> tuple[str, ...]:
        """Figures whose gap widens while validation becomes worse, beyond chance, in one sentence."""
        said = [self._said(name) for name in self.history if self._overfits(name)]
        if not said:
            return ()
        return (f"the model may be overfitting: {', '.join(said)}. Consider the weights of the best epoch",)

    def best(self, name: str) -> Pair:
        """The epoch with the best validation figure, the first of equal ones."""
        sign = -1 if name.startswith(LOWER_IS_BETTER) else 1
        pairs = [pair for pair in self.history[name] if math.isfinite(pair.val)] or self.history[name]
        return max(pairs, key=lambda pair: (sign * pair.val, -pair.epoch))

    def _overfits(self, name: str) -> bool:
        """Whether the last epochs are all worse than the best by more than chance, and further from training."""
        pairs = self.history[name]
        if len(pairs) <= self.patience:
            return False
        best, last = self.best(name), pairs[-self.patience :]
        sign = -1 if name.startswith(LOWER_IS_BETTER) else 1
        return all(
            pair.epoch > best.epoch
            and sign * (best.val - pair.val) > self._chance(name, best.val)
            and sign * pair.gap > sign * best.gap
            and sign * pair.gap > 0
            for pair in last
        )

    def _chance(self, name: str, value: float) -> float:
        """What a figure can differ by without meaning: two standard errors of a share of rows; of a loss a tenth."""
        if not name.startswith("log_loss") and 0 <= value <= 1:
            spread = math.sqrt(max(value * (1 - value), 1 / max(self.rows, 1)) / max(self.rows, 1))
            return 2 * spread
        return 0.1 * abs(value)

    def _said(self, name: str) -> str:
        last, best = self.history[name][-1], self.best(name)
        return (
            f"validation {name} was best in epoch {best.epoch} ({best.val:.4f}) and is {last.val:.4f} now, "
            f"training's {last.train:.4f}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Epoch, training and validation figure of each epoch."""
        keys = ("epoch", "train", "val")
        series = {name: [dict(zip(keys, pair, strict=True)) for pair in pairs] for name, pairs in self.history.items()}
        more = {"patience": self.patience, "rows": self.rows, "notes": self.notes}
        figures: dict[str, Any] = undefined_to_none({"kind": self.recorded_as, "history": series, **more})
        return figures
