"""Class scores and targets that a step gave to a loss or a metric, and why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_posttrain.classification.tasks import ScoreKind, Task
from lightning_posttrain.core.capture.batch_parts import PartSource
from lightning_posttrain.core.capture.target_and_inputs import describe
from lightning_posttrain.core.capture.witness import Pair


@dataclass(frozen=True, eq=False)
class HeardScores:
    """Class scores and targets that a step gave to a loss or a metric together.

    Args:
        pair: what was heard.
        task: what it means.
        scores: likewise.
        prediction: the scores as they were given, or what a softmax, sigmoid or argmax made them of.
        target: as it was given.
        source: the part of the batch that the target is; None where it is none.
        ignore_index: target that the loss leaves out; None where it leaves out none.
        depth: how many steps the scores lie behind what was given, as 1 for what a softmax was taken of.
        given: whether the target is what the user's function gave.
    """

    pair: Pair
    task: Task
    scores: ScoreKind
    prediction: Tensor
    target: Tensor
    source: PartSource | None
    ignore_index: int | None = None
    depth: int = 0
    given: bool = False

    @property
    def said(self) -> str:
        """What was heard, in the words of a message."""
        return in_words(self.pair)


@dataclass(frozen=True)
class NoClasses:
    """Why a pair speaks of no classes that could be counted; said where nothing else was heard.

    Args:
        reason: in words, with what was heard.
        values: whether it is a regression of a part of the batch, or a reconstruction.
        shares: whether targets are shares of classes.
        told: whether the targets went into the scores, which are no predictions then.
    """

    reason: str
    values: bool = False
    shares: bool = False
    told: bool = False


def in_words(pair: Pair) -> str:
    """What was heard.

    Example:
        >>> import torch
        >>> in_words(Pair("mse_loss", "loss", torch.zeros(3, 1), torch.zeros(3, 1)))
        '`mse_loss` took a tensor (3, 1) and the target (3, 1)'
    """
    target = tuple(pair.target.shape) if isinstance(pair.target, Tensor) else describe(pair.target)
    return f"`{pair.by}` took {describe(pair.prediction)} and the target {target}"


CUTS: dict[str, ScoreKind | None] = {"argmax": None, "above 0.0": "logits", "above 0.5": "probabilities"}
"""What a decision says of the kind of the scores that it is made of."""


def unsquashed(pair: Pair, kind: ScoreKind | None) -> tuple[Tensor, ScoreKind | None, int]:
    """What a prediction was made of by softmax, sigmoid or argmax; its kind where that is known; how far back it is."""
    current: Tensor = pair.prediction
    best: tuple[Tensor, ScoreKind | None, int] = current, kind, 0
    for depth, (how, made_of) in enumerate(pair.made_of, start=1):
        decides = how == "argmax" or how.startswith("above")
        if how != "cast" and decides == current.is_floating_point():
            break
        if how != "argmax" and made_of.numel() != current.numel():
            break
        current = made_of
        if how not in CUTS and how != "cast":
            return current, "logits", depth
        if current.is_floating_point():
            best = current, CUTS.get(how, best[1]), depth
    return best


def at_depth(pair: Pair, depth: int) -> Tensor | None:
    """What a prediction was made of, so many steps back; None where it was made otherwise."""
    if depth == 0:
        return pair.prediction if isinstance(pair.prediction, Tensor) else None
    return pair.made_of[depth - 1][1] if depth <= len(pair.made_of) else None
