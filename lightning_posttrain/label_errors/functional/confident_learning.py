"""Probable label errors, from what a network predicts of samples that it does not learn from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_posttrain.label_errors.result import LabelErrors

ROUNDING = 1e-9
"""A probability so little below its threshold is at it: all of a class may be equal, and their mean be rounded."""
AT_ONCE = 1 << 22
"""Probabilities that are looked at in float64 at once."""


@torch.no_grad()
def label_errors(probabilities: Tensor, label: Tensor) -> LabelErrors:
    r"""Find probable label errors by confident learning (Northcutt, Jiang and Chuang, 2021, doi:10.1613/jair.1.12125).

    The threshold :math:`t_j` of a class is the mean of :math:`p_j` over the samples labelled :math:`j`. A sample
    counts as confidently of the class with the largest :math:`p_j` among those with :math:`p_j \ge t_j`, of none where
    there is none. Counts by label and confident class are the confident joint; each row scaled to the samples with
    that label, and all to a sum of 1, it estimates the joint distribution of labels and true classes.

    A sample is flagged where it lies off the diagonal of the confident joint and another class is more probable than
    its label: each on evidence of its own, so that few are flagged in vain. The paper's pruning by class or by noise
    rate finds more, at the price of more that are right. The score ranks them all:
    :math:`(1 + p_y - \max_{j \ne y} p_j) / 2`, the normalised margin of the label :math:`y`. Below 0.5 another class
    is more probable.

    Probabilities should be of samples that the network was not trained on: what it has learned by heart, it believes.
    A network that has learned little flags much that is right: its confidence in all classes is low.

    Args:
        probabilities: ``(N, C)``, rows that sum to 1.
        label: ``(N,)``, 0 to ``C - 1``; -1 for a sample to leave out.

    Raises:
        ValueError: shapes do not fit, or a label is no class.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9]])
        >>> found = label_errors(probabilities, torch.tensor([0, 0, 0, 1]))
        >>> found.flagged.tolist(), found.order.tolist(), found.suggested.tolist()
        ([False, False, True, False], [2, 1, 0, 3], [0, 0, 1, 1])
    """
    _check(probabilities, label)
    known = label >= 0
    y = label[known].long()
    rows = known.nonzero()[:, 0]
    threshold = _thresholds(probabilities, rows, y)
    looked = zip(*_looked(probabilities, rows, y, threshold), strict=True)
    margin, predicted, confident = (torch.cat(found) for found in looked)
    off = (confident >= 0) & (confident != y) & (margin < 0)
    score = _filled(known, (1 + margin) / 2, torch.nan)
    return LabelErrors(
        score=score,
        flagged=_filled(known, off, False),
        suggested=_filled(known, predicted, -1),
        order=rows[score[rows].argsort(stable=True)],
        joint=_joint(y, confident, probabilities.shape[1]),
    )


def _chunks(probabilities: Tensor, rows: Tensor, label: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Probabilities in float64, and labels, of some rows at a time, at least once."""
    step = max(AT_ONCE // probabilities.shape[1], 1)
    for some, y in zip(torch.split(rows, step), torch.split(label, step), strict=True):
        yield probabilities[some].double(), y


def _thresholds(probabilities: Tensor, rows: Tensor, label: Tensor) -> Tensor:
    """The mean probability of each class over the samples with that label; NaN without any."""
    own = torch.cat([p.gather(1, y[:, None])[:, 0] for p, y in _chunks(probabilities, rows, label)])
    zeros = own.new_zeros(probabilities.shape[1])
    total, count = (zeros.index_add(0, label, part) for part in (own, torch.ones_like(own)))
    return total / count


def _looked(
    probabilities: Tensor, rows: Tensor, label: Tensor, threshold: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Margin of the label, most probable class, and the class that each sample confidently has, -1 for none."""
    for p, y in _chunks(probabilities, rows, label):
        margin = p.gather(1, y[:, None])[:, 0] - p.scatter(1, y[:, None], 0.0).amax(dim=1)
        above = p >= threshold - ROUNDING  # NaN without labels: nothing is above it
        confident = torch.where(above.any(dim=1), p.masked_fill(~above, -1.0).argmax(dim=1), -1)
        yield margin, p.argmax(dim=1), confident


def _check(probabilities: Tensor, label: Tensor) -> None:
    if probabilities.dim() != 2 or probabilities.shape[:1] != label.shape:
        raise ValueError(
            f"`probabilities` and `label` have shapes {tuple(probabilities.shape)} and {tuple(label.shape)}, wanted "
            "(N, C) and (N,). Pass a row of probabilities and one label for each sample."
        )
    bad = label[(label < -1) | (label >= probabilities.shape[1])]
    if len(bad):
        raise ValueError(
            f"`label` holds {int(bad[0])}, wanted 0 to {probabilities.shape[1] - 1} for {probabilities.shape[1]} "
            "classes, or -1 for a sample to leave out."
        )


def _joint(label: Tensor, confident: Tensor, classes: int) -> Tensor:
    """The calibrated joint ``(C, C)``; a label none of whose samples is confident is taken as right."""
    sure = confident >= 0
    cells = torch.bincount(label[sure] * classes + confident[sure], minlength=classes**2)
    counts = cells.view(classes, classes).double()
    counts += torch.diag((counts.sum(dim=1) == 0).double())
    support = torch.bincount(label, minlength=classes)
    return counts / counts.sum(dim=1, keepdim=True) * support[:, None] / max(len(label), 1)


def _filled(known: Tensor, values: Tensor, missing: float) -> Tensor:
    """``values`` at the rows that are known, ``missing`` at the others."""
    return torch.full(known.shape, missing, dtype=values.dtype, device=values.device).masked_scatter(known, values)
