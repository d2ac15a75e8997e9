"""Strategies to combine members, from simple to complex, each fitted to validation rows by log loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_posttrain.calibration import TemperatureScaling, fit_calibrator
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.functional.rows import own_log_probability
from lightning_posttrain.ensembles.functional.stacking import stacking
from lightning_posttrain.ensembles.functional.weights import greedy_weights, mixture_weights, product_weights

Fit: TypeAlias = Callable[[Tensor, Tensor], Combination]
TEMPERED = "_temperature"
"""What the name of a strategy ends in whose combination has a temperature behind it."""


def best(logp: Tensor, target: Tensor) -> Combination:
    """The member with the least log loss alone, the first of those that are equally good.

    Args:
        logp: log-probabilities ``(R, K, C)`` float64.
        target: classes ``(R,)``.

    Example:
        >>> logp = torch.tensor([[[0.5, 0.5], [0.8, 0.2]]]).log()  # one row of two members
        >>> best(logp, torch.tensor([0])).describe()
        'member 2 alone'
    """
    losses = -own_log_probability(logp, target).mean(dim=0)
    weights = torch.zeros(logp.shape[1], dtype=torch.float64)
    weights[int((losses <= losses.min()).nonzero()[0, 0]) if len(target) else 0] = 1.0
    return Combination("probabilities", weights)


def mean(logp: Tensor, target: Tensor) -> Combination:  # noqa: ARG001
    """The mean of members' probabilities (Lakshminarayanan et al., 2017, arXiv:1612.01474); nothing is fitted."""
    return Combination("probabilities", _equal(logp))


def mean_logits(logp: Tensor, target: Tensor) -> Combination:  # noqa: ARG001
    """The mean of members' log-probabilities, which is that of their logits, normalised; nothing is fitted."""
    return Combination("logits", _equal(logp))


def convex(logp: Tensor, target: Tensor) -> Combination:
    """The mixture of members' probabilities with the least log loss, see ``mixture_weights``."""
    return Combination("probabilities", mixture_weights(logp, target))


def log_linear(logp: Tensor, target: Tensor) -> Combination:
    """The product of members' probabilities with the least log loss, see ``product_weights``."""
    return no_surer(Combination("logits", product_weights(logp, target)), logp)


def greedy(logp: Tensor, target: Tensor) -> Combination:
    """Greedy selection with replacement, see ``greedy_weights``."""
    return Combination("probabilities", greedy_weights(logp, target))


def tempered(combination: Combination, logp: Tensor, target: Tensor) -> Combination:
    """A combination with the temperature behind it that has the least log loss.

    A mean of probabilities is less sure than it may be (Rahaman and Thiery, 2021, arXiv:2007.08792).
    """
    found = fit_calibrator("temperature", combination(logp), target, "multiclass")
    assert isinstance(found, TemperatureScaling)
    return no_surer(combination.tempered(float(found.temperature)), logp)


def no_surer(combination: Combination, logp: Tensor) -> Combination:
    """A combination that is made surer by no more than so many rows can tell.

    Of rows that are all right the least log loss is that of certainty. After ``R`` rows without an error one expects
    one in ``R + 2`` (Laplace's rule of succession); a temperature below 1 goes no further than to say so on average.

    Args:
        combination: with a temperature, or weights whose sum is one over it.
        logp: that it was fitted to ``(R, K, C)``.
    """
    own = 1.0 if combination.how == "probabilities" else 1 / float(combination.weights.sum())
    if combination.temperature * own >= 1 or _errors_expected(combination, logp) >= 1 / (len(logp) + 2):
        return combination
    low, high = combination.temperature, 1 / own
    for _ in range(40):  # halving: the errors that it expects rise with its temperature
        middle = (low * high) ** 0.5
        enough = _errors_expected(combination.tempered(middle), logp) >= 1 / (len(logp) + 2)
        low, high = (low, middle) if enough else (middle, high)
    return combination.tempered(high)


def _errors_expected(combination: Combination, logp: Tensor) -> float:
    """The share of rows that it says it has wrong."""
    return float((1 - combination(logp).exp().amax(1)).mean())


def _equal(logp: Tensor) -> Tensor:
    return torch.full((logp.shape[1],), 1 / logp.shape[1], dtype=torch.float64)


def _with_temperature(fit: Fit) -> Fit:
    return lambda logp, target: tempered(fit(logp, target), logp, target)


STRATEGIES: Mapping[str, Fit] = {
    "best": best,
    "best_temperature": _with_temperature(best),
    "mean": mean,
    "mean_logits": mean_logits,
    "mean_temperature": _with_temperature(mean),
    "mean_logits_temperature": _with_temperature(mean_logits),
    "greedy": greedy,
    "convex": convex,
    "greedy_temperature": _with_temperature(greedy),
    "convex_temperature": _with_temperature(convex),
    "log_linear": log_linear,
    "stacking": stacking,
}
"""Fits by name, from simple to complex: members' log-probabilities ``(R, K, C)`` and targets ``(R,)`` in."""

SINGLE_WEIGHTS = ("ema", "swa", "uniform_soup", "greedy_soup")
"""Strategies that take one set of weights, an average, as it is."""

TITLES: Mapping[str, str] = {
    "best": "best checkpoint",
    "best_temperature": "best checkpoint, temperature",
    "ema": "moving average of weights (EMA)",
    "swa": "stochastic weight averaging (SWA)",
    "uniform_soup": "uniform soup",
    "greedy_soup": "greedy soup",
    "mean": "mean of probabilities",
    "mean_logits": "mean of logits",
    "mean_temperature": "mean of probabilities, temperature",
    "mean_logits_temperature": "mean of logits, temperature",
    "greedy": "greedy selection",
    "convex": "convex weights",
    "greedy_temperature": "greedy selection, temperature",
    "convex_temperature": "convex weights, temperature",
    "log_linear": "weights of log-probabilities",
    "stacking": "stacking",
}


def check_strategies(names: Sequence[str]) -> None:
    """Raise where a strategy is unknown, or there is none.

    Raises:
        ValueError: it says which there are.
    """
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        given = repr(unknown[0]) if unknown else "empty"
        raise ValueError(
            f"`strategies` is {given}, wanted some of {', '.join(map(repr, STRATEGIES))}. Leave it out for all."
        )


def fit_strategies(names: Sequence[str], logp: Tensor, target: Tensor) -> dict[str, Combination]:
    """Fit strategies, each part that several share once.

    Args:
        names: of ``STRATEGIES``.
        logp: log-probabilities ``(R, K, C)`` float64.
        target: classes ``(R,)``.

    Raises:
        ValueError: an unknown strategy.

    Example:
        >>> logp = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]).log()
        >>> found = fit_strategies(["mean", "convex"], logp, torch.tensor([0, 1]))
        >>> found["mean"].describe()
        'mean of probabilities of 2 members'
    """
    check_strategies(names)
    with torch.inference_mode(False), torch.no_grad():
        logp, target = logp.to(torch.float64, copy=logp.is_inference()), target.clone()
        plain: dict[str, Combination] = {}
        for name in names:
            base = name.removesuffix(TEMPERED)
            if base not in plain:
                plain[base] = STRATEGIES[base](logp, target)
        return {
            name: plain[name] if name in plain else tempered(plain[name.removesuffix(TEMPERED)], logp, target)
            for name in names
        }
