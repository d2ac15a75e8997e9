"""Members' scores as rows of log-probabilities, the one form that strategies are fitted to and applied to.

A row is a sample; of a multilabel task each label of a sample is a row of its own, with two classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.classification import Task
from lightning_posttrain.core.statistics.precision import wide

FLOOR = -100.0
"""The least log-probability, so that a class that a member rules out leaves every figure finite."""
_SURE = 1e30


def log_softmax(logits: Tensor, dim: int) -> Tensor:
    """Finite log-probabilities of any logits: infinite ones are taken at their word, down to ``FLOOR``.

    Where a member has a NaN it says nothing: all classes are equally likely.

    Example:
        >>> log_softmax(torch.tensor([[0.0, -torch.inf], [torch.nan, 9.0]]), 1).exp().tolist()
        [[1.0, 3.783505853677006e-44], [0.5, 0.5]]
    """
    said = logits.masked_fill(logits.isnan().any(dim, keepdim=True), 0.0)
    return said.clamp(-_SURE, _SURE).log_softmax(dim).clamp(min=FLOOR)


def of_log_odds(odds: Tensor, dim: int = -1) -> Tensor:
    """Log-probabilities of both classes along an axis that is put in at ``dim``, from the log-odds of class 1."""
    said = odds.masked_fill(odds.isnan(), 0.0).clamp(-_SURE, _SURE)
    return torch.stack([F.logsigmoid(-said), F.logsigmoid(said)], dim).clamp(min=FLOOR)


def log_odds(logp: Tensor, dim: int = -1) -> Tensor:
    """The log-odds of class 1, from the log-probabilities of both classes along an axis."""
    return logp.select(dim, 1) - logp.select(dim, 0)


def member_rows(scores: Tensor, task: Task) -> Tensor:
    """Log-probabilities ``(R, K, C)`` float64 of all members' scores, those of rows that are not counted among them.

    Args:
        scores: logits ``(N, K, C)``; of a binary task also log-odds ``(N, K)`` or ``(N, K, 1)``; of a multilabel task
            log-odds ``(N, K, L)``, whose rows are sample by sample, ``R = N * L``. A NaN says nothing: its member's
            classes are equally likely.
        task: what they mean.

    Raises:
        ValueError: scores of another shape.

    Example:
        >>> member_rows(torch.zeros(4, 3, 5), "multilabel").shape
        torch.Size([20, 3, 2])
    """
    single = task == "binary" and (scores.ndim == 2 or (scores.ndim == 3 and scores.shape[2] == 1))
    if scores.ndim != 3 and not single:
        form = {"multiclass": "(N, K, C)", "binary": "(N, K, 2) or (N, K)", "multilabel": "(N, K, L)"}[task]
        raise ValueError(
            f"`scores` has shape {tuple(scores.shape)}, wanted {form} for task {task!r}, K members. Stack members' "
            "scores along dimension 1."
        )
    scores = wide(scores)
    if single:
        return of_log_odds(scores.flatten(1))
    if task == "multilabel":
        return of_log_odds(scores.transpose(1, 2).flatten(0, 1))
    return log_softmax(scores, 2)


def log_probabilities(scores: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Log-probabilities ``(R, K, C)`` float64 and targets ``(R,)`` of the rows that are counted.

    Args:
        scores: as ``member_rows`` takes them.
        target: class ``(N,)``; of labels 0 or 1 ``(N, L)``. What is below 0 is not counted.
        task: what they mean.

    Raises:
        ValueError: scores and targets whose shapes do not go together, or a target that is no class.

    Example:
        >>> scores = torch.tensor([[[2.0, -1.0]], [[0.0, 3.0]]])  # of one member, for two samples and two labels
        >>> logp, target = log_probabilities(scores, torch.tensor([[1, -1], [0, 1]]), "multilabel")
        >>> (logp[:, 0, 1] - logp[:, 0, 0]).round(decimals=6).tolist(), target.tolist()
        ([2.0, 0.0, 3.0], [1, 0, 1])
    """
    logp, flat = member_rows(scores, task), target.reshape(-1)
    if len(flat) != len(logp):
        wanted = f"({len(scores)}, {scores.shape[-1]})" if task == "multilabel" else f"({len(scores)},)"
        raise ValueError(
            f"`target` has shape {tuple(target.shape)}, wanted {wanted} for `scores` of shape {tuple(scores.shape)} "
            f"and task {task!r}."
        )
    counted = flat >= 0
    if not bool(counted.all()):
        logp, flat = logp[counted], flat[counted]
    if len(flat) and int(flat.max()) >= logp.shape[2]:
        raise ValueError(
            f"`target` has class {int(flat.max())}, wanted 0 to {logp.shape[2] - 1} for `scores` of shape "
            f"{tuple(scores.shape)} and task {task!r}."
        )
    return logp, flat.long()


def row_of(target: Tensor, task: Task) -> Tensor:
    """The sample ``(R,)`` that each row of ``log_probabilities`` belongs to, by its position in ``target``.

    Example:
        >>> row_of(torch.tensor([[1, -1], [0, 1]]), "multilabel").tolist()
        [0, 1, 1]
    """
    each = target.shape[1] if task == "multilabel" else 1
    counted = target.reshape(-1) >= 0
    return torch.arange(len(counted), device=target.device)[counted] // each


def scores_of(logp: Tensor, task: Task, labels: int | None = None) -> Tensor:
    """Scores as a callback reads them, of combined log-probabilities ``(R, C)`` of all rows of ``member_rows``.

    Args:
        logp: log-probabilities.
        task: what they are for.
        labels: how many labels a sample has; needed for a multilabel task.

    Returns:
        ``logp`` itself, whose softmax gives the probabilities; of a multilabel task log-odds ``(N, L)``.

    Raises:
        ValueError: a multilabel task whose rows do not fill samples of so many labels.
    """
    if task != "multilabel":
        return logp
    if not labels or len(logp) % labels:
        raise ValueError(
            f"`labels` is {labels} for {len(logp)} rows, wanted a number of which these are a multiple. Give all rows "
            "of `member_rows`, with those that are not counted."
        )
    return log_odds(logp).reshape(-1, labels)


def own_log_probability(logp: Tensor, target: Tensor) -> Tensor:
    """The log-probability of what came true, ``(R, ...)`` of ``logp`` ``(R, ..., C)``."""
    index = target.reshape(-1, *(1,) * (logp.ndim - 1)).expand(*logp.shape[:-1], 1)
    return logp.gather(-1, index)[..., 0]
