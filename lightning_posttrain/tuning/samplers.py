"""Samplers, which propose settings, and pruners, which end trials early, by the names that ``tune`` takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from lightning_posttrain.tuning.backend import optuna
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.space import range_of

RANDOM_AT_FIRST = 10
"""Trials before a sampler that learns has anything to learn from."""

SAMPLERS: Mapping[str, Callable[[int], Any]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(
        n_startup_trials=RANDOM_AT_FIRST, multivariate=True, constant_liar=True, seed=seed
    ),
    "gp": lambda seed: optuna.samplers.GPSampler(n_startup_trials=RANDOM_AT_FIRST, seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    # all of its trials are queued with their parameters
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}

PRUNERS: Mapping[str, Callable[[], Any]] = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5),
    "hyperband": optuna.pruners.HyperbandPruner,
    "patience": lambda: optuna.pruners.PatientPruner(None, patience=3),
    "none": optuna.pruners.NopPruner,
}

WARM_UP = {"median": 1}
"""Reports of a trial before its pruner is asked."""


def check_sampler(name: str) -> None:
    """Refuse a sampler that is not known, or whose package is not there."""
    if name not in SAMPLERS:
        raise StudyRefused(f"`sampler` is {name!r}, wanted one of {sorted(SAMPLERS)}.")
    if name == "gp" and importlib.util.find_spec("scipy") is None:
        raise ImportError('`sampler="gp"` needs SciPy: pip install scipy')


def check_pruner(name: str) -> None:
    """Refuse a pruner that is not known."""
    if name not in PRUNERS:
        raise StudyRefused(f"`pruner` is {name!r}, wanted one of {sorted(set(PRUNERS) - {'none'})}, or None.")


def distributions(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space in Optuna's terms."""
    return {name: _distribution(wanted) for name, wanted in space.items()}


def _distribution(wanted: Any) -> Any:
    found = range_of(wanted)
    if found is None:
        return optuna.distributions.CategoricalDistribution(wanted)
    if found.whole:
        return optuna.distributions.IntDistribution(int(found.low), int(found.high), log=found.log)
    return optuna.distributions.FloatDistribution(found.low, found.high, log=found.log)
