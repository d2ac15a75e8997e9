"""What perturbed inputs say of a model in numbers: weights and Shapley values of parts, importance."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_posttrain.core.output.result import Counted


@dataclass(frozen=True, eq=False)
class LimeWeights(Counted):
    """A linear model around each sample (Ribeiro, Singh and Guestrin, 2016, arXiv:1602.04938).

    Args:
        values: weight of each part ``(K, M)``, in units of the output: what its presence adds nearby.
        errors: standard error of each ``(K, M)``.
        intercept: of the linear model ``(K,)``.
        local: what it gives for the sample ``(K,)``.
        output: what the model gives ``(K,)``.
        fit: share of the weighted variance that it explains ``(K,)``, R²; 1 is best.
        spread: how much the weights of another seed would differ, as a share of their length ``(K,)``; 0 is best.
        forwards: rows that the model was asked for.
    """

    values: Tensor
    errors: Tensor
    intercept: Tensor
    local: Tensor
    output: Tensor
    fit: Tensor
    spread: Tensor
    forwards: int


@dataclass(frozen=True, eq=False)
class ShapleyValues(Counted):
    """Shapley values of the parts of samples (Shapley, 1953; Lundberg and Lee, 2017, arXiv:1705.07874).

    Float64 on the CPU; where several outputs of a sample are explained, all have a second dimension ``Q`` for these.

    Args:
        values: of each part ``(K, M)``, in units of the output.
        errors: standard error of each ``(K, M)``; zeros where they are exact, NaN where fewer than 4 draws cannot tell.
        base: mean output where all parts are hidden ``(K,)``.
        output: what the model gives for the sample ``(K,)``.
        gap: what ``base`` and the values leave out of the output ``(K,)``: rounding errors.
        method: ``"exact"``, ``"kernel"`` or ``"permutation"``.
        forwards: rows that the model was asked for.
    """

    values: Tensor
    errors: Tensor
    base: Tensor
    output: Tensor
    gap: Tensor
    method: str
    forwards: int


@dataclass(frozen=True, eq=False)
class Importance(Counted):
    """Shapley values of many rows.

    Args:
        names: of the ``F`` features.
        class_names: of the ``C`` explained classes, or one name for another output.
        values: ``(C, N, F)`` float32, in units of the output.
        shown: the features' values ``(N, F)``.
        method: how they were worked out: ``"exact"``, ``"kernel"`` or ``"permutation"``.
        background: rows that stood for hidden features.
        unit: of the output: ``"probability"``, ``"logit"``, or ``"output"`` for one without a class.
        classes: number of each of the ``C`` classes among all of the model's; empty for 0 to ``C - 1``.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    values: Tensor
    shown: Tensor
    method: str
    background: int
    unit: str = "probability"
    classes: tuple[int, ...] = ()
