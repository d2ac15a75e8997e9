"""From logits and thresholds to what is said of each row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_posttrain.classification import Task
from lightning_posttrain.ensembles import Combination, member_rows, scores_of

HALF = 0.5


def labels_of(target: Tensor, task: Task, classes: int) -> Tensor:
    """0 or 1 for each class of a multiclass task, for class 1 of a binary one, for each label ``(N, L)`` int64."""
    if task == "multilabel":
        return target
    return target[:, None] if task == "binary" else one_hot(target, classes)


def as_logits(scores: Tensor, task: Task) -> Tensor:
    """Scores in float64; of a binary task with one score a row, which speaks for class 1, those of both classes.

    Example:
        >>> as_logits(torch.tensor([[2.0]]), "binary").tolist()
        [[-1.0, 1.0]]
    """
    logits = scores.double()
    if task != "binary" or (logits.ndim > 1 and logits.shape[-1] != 1):
        return logits
    margin = logits if logits.ndim == 1 else logits[..., 0]
    return torch.stack([-margin / 2, margin / 2], dim=-1)


def combined(combination: Combination, members: Tensor, task: Task) -> Tensor:
    """Logits ``(N, C)`` of members' scores ``(N, K, C)``; of labels log-odds."""
    return scores_of(combination(member_rows(members, task)), task, members.shape[-1])


def probabilities_of(logits: Tensor, task: Task) -> Tensor:
    """Of the same ``(N, L)`` float64."""
    if task == "multilabel":
        return logits.double().sigmoid()
    chances = logits.double().softmax(dim=1)
    return chances[:, 1:] if task == "binary" else chances


def decide(probabilities: Tensor, thresholds: Tensor | None, task: Task) -> Tensor:
    """What is said to be there ``(N, L)`` bool.

    A label, or class 1, from its threshold on; of classes the one whose log-odds are farthest above those of its
    threshold. Without thresholds 0.5, or the class with the highest probability.

    Args:
        probabilities: ``(N, L)``.
        thresholds: ``(L,)``, NaN for 0.5, or None.
        task: whether one class of a row is said, or each label for itself.

    Example:
        >>> chances = torch.tensor([[0.6, 0.3, 0.1]])
        >>> decide(chances, torch.tensor([0.7, 0.2, 0.5]), "multiclass").tolist()
        [[False, True, False]]
    """
    if task != "multiclass":
        return probabilities >= (HALF if thresholds is None else thresholds.nan_to_num(HALF))
    score = probabilities if thresholds is None else _above(probabilities, thresholds.nan_to_num(HALF))
    return one_hot(score.argmax(dim=1), probabilities.shape[1]).bool()


def _above(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """How far log-odds lie above those of thresholds, which may be 0 or beyond 1."""
    tiny = torch.finfo(torch.float64).eps / 4
    odds = [torch.logit(values.clamp(min=1e-300, max=1 - tiny)) for values in (probabilities, thresholds)]
    return odds[0] - odds[1]
