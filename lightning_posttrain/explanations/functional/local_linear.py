"""A linear model around a sample, from perturbed samples that are weighted by how near they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = 16
"""Parts that the rows are divided into, each left out once, for standard errors."""
SELECTING = 0.01
"""Penalty of the fit that features are selected by, as in the ``lime`` package."""


@dataclass(frozen=True, eq=False)
class LocalLinear:
    """A weighted linear model, of each of ``Q`` outputs.

    Args:
        weights: ``(Q, M)`` float64.
        errors: standard error of each ``(Q, M)``, from the drawing of rows.
        intercept: ``(Q,)``.
        fit: share of the weighted variance that is explained ``(Q,)``, R²; NaN where the output does not vary.
    """

    weights: Tensor
    errors: Tensor
    intercept: Tensor
    fit: Tensor

    @property
    def spread(self) -> Tensor:
        """How far weights of two draws lie apart, as a share of their length ``(Q,)``; 0 where all are 0."""
        length = self.weights.norm(dim=1)
        return torch.where(length > 0, math.sqrt(2) * self.errors.norm(dim=1) / length, 0.0)


def local_linear(
    features: Tensor, outputs: Tensor, nearness: Tensor, *, ridge: float = 1.0, keep: int | None = None, fixed: int = 1
) -> LocalLinear:
    """Fit outputs by features, rows weighted by how near they are, with a penalty on the weights alone.

    Minimises ``sum(nearness * (outputs - features @ weights - intercept)²) + ridge * |weights|²``, as scikit-learn's
    ``Ridge`` does with sample weights, and so the ``lime`` package (Ribeiro, Singh and Guestrin, 2016,
    arXiv:1602.04938). Standard errors by a jackknife that leaves out one group of rows at a time (Efron and Stein,
    1981, doi:10.1214/aos/1176345462).

    Args:
        features: of perturbed samples ``(n, M)``.
        outputs: of the model for them ``(n, Q)``.
        nearness: weight of each row ``(n,)``, 0 or more.
        ridge: the penalty.
        keep: features with a weight, those that matter most in a fit without penalty; None for all.
        fixed: rows, the first, that were not drawn, as the sample itself; ``n`` where none was.

    Example:
        >>> x = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> found = local_linear(x, x @ torch.tensor([[3.0], [1.0]]), torch.ones(4), ridge=0.0, fixed=4)
        >>> found.weights.round(decimals=6).tolist(), found.fit.tolist()
        ([[3.0, 1.0]], [1.0])
    """
    count, drawn = features.shape[1], len(features) - fixed
    rows = torch.cat([torch.ones_like(features[:, :1]), features, outputs], 1).double()
    weighted = rows * nearness.double()[:, None]
    total = weighted.T @ rows
    kept = None if keep is None or keep >= count else _selected(total, features[0], count, keep)
    weights, intercept = _solve(total, count, ridge, kept)
    errors = torch.zeros_like(weights)
    groups = min(GROUPS, drawn)
    if groups > 1:
        size = fixed + drawn // groups * groups
        left = [block.reshape(groups, -1, block.shape[1]) for block in (weighted[fixed:size], rows[fixed:size])]
        without = total - left[0].mT @ left[1]
        others, _ = _solve(without, count, ridge, kept)
        errors = ((groups - 1) / groups * (others - others.mean(0)).square().sum(0)).sqrt()
    y = outputs.double()
    off = y - features.double() @ weights.T - intercept
    share = nearness.double() / nearness.double().sum()
    variance = share @ (y - share @ y).square()
    varies = variance > 1e-13 * (share @ y.square())  # less is rounding
    fit = torch.where(varies, 1 - share @ off.square() / torch.where(varies, variance, 1.0), torch.nan)
    return LocalLinear(weights, errors, intercept, fit)


def _solve(moments: Tensor, count: int, ridge: float, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights ``(..., Q, M)`` and intercepts ``(..., Q)`` from weighted moments of one, features and outputs."""
    mean = moments[..., :1, :] / moments[..., :1, :1]
    centred = moments - moments[..., :1, :1] * (mean.mT @ mean)
    x, y = slice(1, 1 + count), slice(1 + count, None)
    gram, cross = centred[..., x, x], centred[..., x, y]
    if kept is not None:  # (Q, M): a fit of its own for each output
        alone = [
            _weights(gram * one[:, None] * one, cross[..., [q]] * one[:, None], ridge) for q, one in enumerate(kept)
        ]
        weights = torch.cat(alone, -1)
    else:
        weights = _weights(gram, cross, ridge)
    intercept = mean[..., 0, y] - (mean[..., 0, None, x] @ weights)[..., 0, :]
    return weights.mT, intercept


def _weights(gram: Tensor, cross: Tensor, ridge: float) -> Tensor:
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    # features that never vary get a weight of 0, penalty or not
    still = (gram.diagonal(dim1=-2, dim2=-1) <= 1e-12).to(gram.dtype).diag_embed()
    solved: Tensor = torch.linalg.solve(gram + ridge * eye + still, cross)
    return solved


def _selected(total: Tensor, sample: Tensor, count: int, keep: int) -> Tensor:
    """The features with the largest products of weight and value in the sample ``(Q, M)``, as ones and zeros."""
    weights, _ = _solve(total, count, SELECTING, None)
    top = (weights * sample.double()).abs().topk(keep, dim=1).indices
    return torch.zeros_like(weights).scatter(1, top, 1.0)


def nearness_of_parts(present: Tensor, width: float = 0.25) -> Tensor:
    """How near samples with hidden parts are ``(n,)``: by the cosine distance of ``present (n, M)`` to all parts.

    Example:
        >>> nearness_of_parts(torch.tensor([[True, True], [False, False]])).round(decimals=4).tolist()
        [1.0, 0.0003]
    """
    return _kernel(1 - present.double().mean(1).sqrt(), width)


def nearness_of_rows(same: Tensor, width: float | None = None) -> Tensor:
    """How near rows are ``(n,)``: by how many features are ``same (n, M)``; the width is 0.75 √M by default."""
    distance = (~same).sum(1).double().sqrt()
    return _kernel(distance, 0.75 * math.sqrt(same.shape[1]) if width is None else width)


def _kernel(distance: Tensor, width: float) -> Tensor:
    return torch.exp(-0.5 * (distance / width).square())
