"""A shallow decision tree that imitates a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.explanations.result.rule import Condition, shortest
from lightning_posttrain.explanations.result.surrogate import Branch, SurrogateReport

FEWEST = 20
"""Rows below which there is nothing to fit a tree to and to judge it on."""
LARGEST = 1e30
"""What stands for infinity: scikit-learn's tree takes none, nor what adds up to it, and order is all that counts."""
Scale = tuple[Tensor, Tensor]
"""Mean ``(F,)`` and standard deviation ``(F,)`` that features were normalized by."""


def fit_surrogate(  # noqa: PLR0913 - all by keyword
    features: Tensor,
    predicted: Tensor,
    *,
    names: Sequence[str] = (),
    class_names: Sequence[str] = (),
    depth: int = 3,
    held_out: float = 0.3,
    min_rows: int | None = None,
    seed: int = 0,
    scale: Scale | None = None,
) -> SurrogateReport:
    """Fit a decision tree to what a model predicts, and see on other rows how often the tree gives the same.

    A global surrogate (Craven and Shavlik, 1995, "Extracting Tree-Structured Representations of Trained Networks";
    its fidelity is theirs): it tells of the model as far as its fidelity is above the share of the most frequent class,
    and nothing of the truth. The tree is scikit-learn's (CART, Gini impurity); a question whose answers all lead to
    one class is left out. The interval is that of Clopper and Pearson. Conditions are written with as few decimals as
    tell the same rows apart.

    Args:
        features: of each row ``(N, F)``, which may be others than the model was given; NaN is a missing value, and
            conditions say where it goes.
        predicted: index of the model's class for each row ``(N,)``.
        names: of the features.
        class_names: of all classes that the model knows.
        depth: questions at most on the way to a leaf.
        held_out: share of the rows that the tree is judged on, drawn at random.
        min_rows: fitted rows of a leaf at least. Default: a hundredth of the fitted rows, 5 at least.
        seed: of the draw, from a generator of its own, and of ties in the tree.
        scale: mean and standard deviation of each feature, to undo a normalization in the conditions.

    Raises:
        ValueError: an argument does not fit.
        ImportError: scikit-learn is not installed.

    Example:
        >>> x = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
        >>> report = fit_surrogate(x, (x[:, 0] > 0.5).long(), names=["age", "income"], depth=1)
        >>> round(report.fidelity, 2), report.questions, report.branches[1].condition.name
        (0.99, 1, 'age')
    """
    names = tuple(names) or tuple(f"feature {i}" for i in range(features.shape[-1]))
    _check(features, predicted, names, class_names, depth=depth, held_out=held_out, scale=scale)
    class_names = tuple(class_names) or tuple(map(str, range(int(predicted.max()) + 1)))
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    values, wanted = _values(features)[order].numpy(), predicted.detach().cpu()[order].numpy()
    fitted = len(order) - max(1, round(held_out * len(order)))
    tree = _tree_class()(
        max_depth=depth, min_samples_leaf=min_rows or max(5, fitted // 100), random_state=seed
    ).fit(values[:fitted], wanted[:fitted])  # fmt: skip
    nodes = _judged(tree, values[fitted:], wanted[fitted:])
    same = int((tree.predict(values[fitted:]) == wanted[fitted:]).sum())
    low, high = share_interval(same, len(order) - fitted)
    usual = int(np.bincount(wanted[:fitted]).argmax())
    return SurrogateReport(
        branches=tuple(_branches(nodes, _Words(values, names, scale), class_names)),
        class_names=class_names,
        fidelity=same / (len(order) - fitted),
        fidelity_low=low,
        fidelity_high=high,
        majority=float((wanted[fitted:] == usual).mean()),
        majority_class=class_names[usual],
        fitted_rows=fitted,
        held_out_rows=len(order) - fitted,
    )


def _check(
    features: Tensor, predicted: Tensor, names: Sequence[str], class_names: Sequence[str], *,
    depth: int, held_out: float, scale: Scale | None,
) -> None:  # fmt: skip
    _check_rows(features, predicted, class_names)
    if len(names) != features.shape[1]:
        raise ValueError(f"`names` has {len(names)} names for {features.shape[1]} features. Pass one for each.")
    if depth < 1:
        raise ValueError(f"`depth` is {depth}, wanted at least 1.")
    if not 0 < held_out < 1:
        raise ValueError(f"`held_out` is {held_out}, wanted above 0 and below 1. Pass a share of the rows, as 0.3.")
    if scale is not None and (any(part.shape != features.shape[1:] for part in scale) or bool((scale[1] <= 0).any())):
        raise ValueError(
            f"`scale` has shapes {[tuple(part.shape) for part in scale]}, wanted mean and deviation of "
            f"{features.shape[1]} features, the latter above 0. Leave it out where nothing was normalized."
        )


def _check_rows(features: Tensor, predicted: Tensor, class_names: Sequence[str]) -> None:
    if features.ndim != 2 or len(features) < FEWEST or not features.shape[1]:
        raise ValueError(
            f"`features` is {tuple(features.shape)}, wanted (N, F) with {FEWEST} rows at least. Pass more rows."
        )
    if predicted.shape != features.shape[:1] or predicted.is_floating_point():
        raise ValueError(
            f"`predicted` is {tuple(predicted.shape)} {predicted.dtype}, wanted a class index for each of "
            f"{len(features)} rows. Pass logits.argmax(1)."
        )
    least, most = int(predicted.min()), int(predicted.max())
    if least < 0 or most >= (len(class_names) or most + 1):
        known = f"0 to {len(class_names) - 1}" if class_names else "0 or more"
        raise ValueError(f"`predicted` holds {least} to {most}, wanted {known}. Pass a name for each class.")


def _values(features: Tensor) -> Tensor:
    """Features as scikit-learn takes them; a column in which all is missing is constant, and never asked about."""
    values = features.detach().float().cpu().clamp(-LARGEST, LARGEST)
    return values.masked_fill(values.isnan().all(0), 0.0)


def _tree_class() -> Any:
    try:
        from sklearn.tree import DecisionTreeClassifier
    except ImportError as error:
        raise ImportError("a surrogate needs scikit-learn: pip install 'lightning-posttrain[sklearn]'") from error
    return DecisionTreeClassifier


@dataclass(frozen=True, eq=False)
class _Nodes:
    """A fitted tree, an entry for each node ``(M,)``; ``left`` is -1 for a leaf."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    cut: NDArray[np.float64]
    missing_left: NDArray[np.uint8]
    label: NDArray[np.int64]
    rows: NDArray[np.int64]
    same: NDArray[np.int64]

    def labels(self, node: int) -> set[int]:
        """What the leaves below a node give."""
        if self.left[node] < 0:
            return {int(self.label[node])}
        return self.labels(self.left[node]) | self.labels(self.right[node])


def _judged(tree: Any, values: NDArray[np.float32], wanted: NDArray[np.int64]) -> _Nodes:
    """The nodes of a tree, with the held-out rows that come to each."""
    inner = tree.tree_
    label = tree.classes_[inner.value[:, 0].argmax(1)]
    passed = tree.decision_path(values).toarray().astype(bool)
    same = (passed & (wanted[:, None] == label)).sum(0)
    return _Nodes(
        inner.children_left, inner.children_right, inner.feature, inner.threshold, inner.missing_go_to_left, label,
        passed.sum(0), same,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Words:
    """What questions are written with: the values of all rows ``(N, F)``, names, and what was normalized."""

    values: NDArray[np.float32]
    names: Sequence[str]
    scale: Scale | None

    def answers(self, part: int, cut: float, missing_left: bool) -> tuple[Condition, Condition]:
        """The conditions of the left and the right child."""
        column, name = self.values[:, part], self.names[part]
        missing, cut = bool(np.isnan(column).any()), self._written(part, cut)
        left = Condition(part, name, high=cut, missing=missing and missing_left)
        return left, Condition(part, name, low=cut, missing=missing and not missing_left)

    def _written(self, part: int, cut: float) -> float:
        """A cut that tells the same rows apart, in the units from before the normalization."""
        column = self.values[:, part].astype(np.float64)
        below, above = column[column <= cut].max(initial=-np.inf), column[column > cut].min(initial=np.inf)
        low, high = self._told(part, float(below)), self._told(part, float(above))
        return shortest(low, high) if -np.inf < low < high < np.inf else self._told(part, cut)

    def _told(self, part: int, value: float) -> float:
        return value if self.scale is None else value * float(self.scale[1][part]) + float(self.scale[0][part])


def _branches(nodes: _Nodes, words: _Words, class_names: Sequence[str]) -> Iterator[Branch]:
    waiting: list[tuple[int, int, Condition | None]] = [(0, 0, None)]
    while waiting:
        node, depth, condition = waiting.pop()
        rows, leaf = int(nodes.rows[node]), len(nodes.labels(node)) == 1
        label = min(nodes.labels(node)) if leaf else int(nodes.label[node])
        agreement = int(nodes.same[node]) / rows if rows else float("nan")
        yield Branch(depth, condition, leaf, class_names[label], rows, agreement)
        if not leaf:
            left, right = words.answers(
                int(nodes.feature[node]), float(nodes.cut[node]), bool(nodes.missing_left[node])
            )
            waiting.append((int(nodes.right[node]), depth + 1, right))
            waiting.append((int(nodes.left[node]), depth + 1, left))
