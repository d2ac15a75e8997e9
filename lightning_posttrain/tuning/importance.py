"""Which parameters tell the best trials from the others, by Optuna's PED-ANOVA."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_posttrain.tuning.space import distinct, range_of

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study, Trial

FEWEST, TOP = 10, 5
"""Complete trials at least, and those at least that count as the best, as Optuna advises."""


class Importance(NamedTuple):
    """Shares that add up to 1, the largest first, or None and why."""

    shares: dict[str, float] | None
    reason: str


def importance_of(study: Study) -> Importance:
    """PED-ANOVA (Watanabe, Bansal and Hutter, 2023, arXiv:2304.10255) of the parameters that vary.

    The best tenth of the complete trials is set against all; the best five where these are more. A parameter whose
    values are spread among the best as among all has no share.

    Args:
        study: trials that are not complete are left out.
    """
    done = study.ranked
    varied = [name for name in study.space if _varies(name, done)]
    if len(done) < FEWEST:
        return Importance(None, f"importance wants {FEWEST} complete trials at least, there are {len(done)}")
    if len(varied) < 2:
        only = f"{varied[0]!r} alone varies" if varied else "none varies"
        return Importance(None, f"importance compares parameters that vary, and {only}")
    if done[math.ceil(_top(len(done)) * len(done)) - 1].value == done[-1].value:
        return Importance(None, "importance sets the best trials against all, and the values of all are the best")
    try:
        return Importance(_shares(study, done, varied), "")
    except ImportError:
        return Importance(None, "importance needs Optuna: pip install 'lightning-posttrain[tuning]'")


def _top(count: int) -> float:
    """The share of trials that are the best."""
    return max(0.1, TOP / count)


def _varies(name: str, trials: tuple[Trial, ...]) -> bool:
    return all(name in trial.params for trial in trials) and len(distinct([t.params[name] for t in trials])) > 1


def _shares(study: Study, done: tuple[Trial, ...], varied: list[str]) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    direction = optuna.study.StudyDirection.MAXIMIZE if study.mode == "max" else optuna.study.StudyDirection.MINIMIZE
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        found = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction=direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    domains = {name: _domain(study.space[name], [trial.params[name] for trial in done]) for name in varied}
    for trial in done:
        params = {name: _plain(domains[name], trial.params[name]) for name in varied}
        found.add_trial(optuna.trial.create_trial(params=params, distributions=domains, value=trial.value))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_top(len(done)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares = get_param_importances(found, evaluator=evaluator, params=varied)
    return {name: float(share) for name, share in shares.items()}


def _domain(wanted: Any, tried: list[Any]) -> Any:
    """The distribution of a parameter, made wider where a value lies outside, as after a change of the space."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found = range_of(wanted)
    if found is None or not all(isinstance(value, (int, float)) for value in tried):
        return CategoricalDistribution([str(value) for value in distinct([*(wanted if found is None else ()), *tried])])
    low, high = min(found.low, *tried), max(found.high, *tried)
    if found.whole and all(isinstance(value, int) for value in tried):
        return IntDistribution(int(low), int(high), log=found.log)
    return FloatDistribution(float(low), float(high), log=found.log)


def _plain(domain: Any, value: Any) -> Any:
    return str(value) if hasattr(domain, "choices") else value
