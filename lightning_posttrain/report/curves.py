"""The curves of a training that one looks at first, from the lines of its history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST = ("loss", "accuracy", "acc", "log_loss", "f1_macro", "f1", "balanced_accuracy", "auroc_macro", "auroc", "ece")
"""Figures in the order in which one looks at them; rates of learning come last."""
MOST = 4
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """A figure over the epochs: points ``(epoch, value)`` of training and of validation, either perhaps empty."""

    name: str
    train: Points
    val: Points


def curves_of(
    history: Iterable[Mapping[str, Any]], gap: Mapping[str, Any] | None = None, most: int = MOST
) -> tuple[Curve, ...]:
    """Curves of figures that have two points or more: those that one looks at first, then those of both stages.

    Args:
        history: lines of ``history.jsonl``.
        gap: the record of a ``GeneralizationGap``, whose figures of training stand in no line.
        most: curves, the last of them a learning rate where there is one. Of those that are the same, as a loss that
            is the log loss, the first alone.

    Example:
        >>> lines = [{"stage": "val", "epoch": epoch, "metrics": {"loss": 2.0 - epoch}} for epoch in range(2)]
        >>> curves_of(lines)
        (Curve(name='loss', train=(), val=((0.0, 2.0), (1.0, 1.0))),)
    """
    found: dict[str, dict[str, dict[float, float]]] = {}
    for stage, epoch, name, value in (*_of_lines(history), *_of_gap(gap or {})):
        if stage in ("train", "val") and isinstance(value, (int, float)) and math.isfinite(value):
            found.setdefault(name, {}).setdefault(stage, {})[float(epoch)] = float(value)
    curves = [
        Curve(name, *(tuple(sorted(sides.get(stage, {}).items())) for stage in ("train", "val")))
        for name, sides in found.items()
    ]
    ranked = sorted(((rank, curve) for curve in curves if (rank := _rank(curve))), key=lambda pair: pair[0])
    chosen: list[Curve] = []
    for _, curve in ranked:
        if not any(_same(curve, other) for other in chosen):
            chosen.append(curve)
    first = [curve for curve in chosen if not _of_rate(curve.name)]
    rate = [curve for curve in chosen if _of_rate(curve.name)][:1]
    return (*first[: most - len(rate)], *rate)


def _of_lines(history: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, float, str, Any]]:
    for line in history:
        stage, epoch, metrics = line.get("stage"), line.get("epoch"), line.get("metrics")
        if isinstance(epoch, (int, float)) and isinstance(metrics, Mapping):
            named = ((name.removesuffix("_epoch"), value) for name, value in metrics.items())
            yield from ((stage, epoch, name, value) for name, value in named if not name.endswith("_step"))


def _of_gap(record: Mapping[str, Any]) -> Iterator[tuple[Any, float, str, Any]]:
    for name, pairs in (record.get("history") or {}).items():
        for pair in pairs:
            yield "train", pair["epoch"], name, pair["train"]


def _same(one: Curve, other: Curve) -> bool:
    """Whether validation is the same; training is heard by one means or another."""
    pairs = zip(one.val, other.val, strict=False)
    return len(one.val) == len(other.val) > 0 and all(math.isclose(a[1], b[1], rel_tol=1e-5) for a, b in pairs)


def _of_rate(name: str) -> bool:
    return name.startswith(("lr-", "lr/")) or name in ("lr", "learning_rate")


def _rank(curve: Curve) -> tuple[int, int, str] | None:
    """The place of a curve; None where there is nothing to look at."""
    name, both = curve.name, bool(curve.train and curve.val)
    if max(len(curve.train), len(curve.val)) < 2:
        return None
    if name in FIRST:
        return 0, FIRST.index(name), name
    if _of_rate(name):
        return (1, 0, name) if "momentum" not in name else None
    return (2, 0, name) if both else None


def spread(curves: Sequence[Curve]) -> tuple[float, float]:
    """The first and the last epoch of all."""
    epochs = [epoch for curve in curves for epoch, _ in (*curve.train, *curve.val)]
    return min(epochs), max(epochs)
