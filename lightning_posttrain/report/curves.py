"""The curves of a training that one looks at first, from the lines of its history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST = ("loss", "accuracy", "acc", "log_loss", "f1_macro", "f1", "balanced_accuracy", "auroc_macro", "auroc", "ece")
"""Figures in the order in which one looks at them; rates of learning come last."""
MOST = 6
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """A figure over the epochs: points ``(epoch, value)`` of training and of validation, either perhaps empty."""

    name: str
    train: Points
    val: Points


def curves_of(history: Iterable[Mapping[str, Any]], most: int = MOST) -> tuple[Curve, ...]:
    """Curves of figures that have two points or more: those that one looks at first, then those of both stages.

    Args:
        history: lines of ``history.jsonl``.
        most: curves.

    Example:
        >>> lines = [{"stage": "val", "epoch": epoch, "metrics": {"loss": 2.0 - epoch}} for epoch in range(2)]
        >>> curves_of(lines)
        (Curve(name='loss', train=(), val=((1.0, 2.0), (2.0, 1.0))),)
    """
    found: dict[str, dict[str, dict[float, float]]] = {}
    for line in history:
        stage, epoch, metrics = line.get("stage"), line.get("epoch"), line.get("metrics")
        if stage in ("train", "val") and isinstance(epoch, (int, float)) and isinstance(metrics, Mapping):
            for name, value in metrics.items():
                if isinstance(value, (int, float)) and math.isfinite(value) and not name.endswith("_step"):
                    sides = found.setdefault(name.removesuffix("_epoch"), {})
                    sides.setdefault(stage, {})[epoch + 1.0] = float(value)
    curves = [
        Curve(name, *(tuple(sorted(sides.get(stage, {}).items())) for stage in ("train", "val")))
        for name, sides in found.items()
    ]
    shown = sorted(
        (curve for curve in curves if _rank(curve) is not None), key=lambda curve: _rank(curve) or (0, 0, "")
    )
    return tuple(shown[:most])


def _rank(curve: Curve) -> tuple[int, int, str] | None:
    """The place of a curve; None where there is nothing to look at."""
    name, both = curve.name, bool(curve.train and curve.val)
    if max(len(curve.train), len(curve.val)) < 2:
        return None
    if name in FIRST:
        return 0, FIRST.index(name), name
    if name.startswith(("lr-", "lr/")) or name in ("lr", "learning_rate"):
        return (1, 0, name) if "momentum" not in name else None
    return (2, 0, name) if both else None


def spread(curves: Sequence[Curve]) -> tuple[float, float]:
    """The first and the last epoch of all."""
    epochs = [epoch for curve in curves for epoch, _ in (*curve.train, *curve.val)]
    return min(epochs), max(epochs)
