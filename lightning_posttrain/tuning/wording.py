"""What a study says, in sentences that are figures."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lightning_posttrain.core.output.result import listed

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study, Trial

RANDOM, FEW = 10, 15
"""Trials at random with which a model of the trials begins, and below how many in all it has had no say to speak of."""
MODELS = ("tpe", "gp")
STATES = ("complete", "pruned", "failed", "running", "waiting")
REASONS, LONGEST = 3, 160


def figure(value: float) -> str:
    """A value in four significant digits.

    Example:
        >>> figure(0.556213), figure(12.0), figure(0.00003)
        ('0.5562', '12', '3e-05')
    """
    return f"{value:.4g}"


def setting(params: Mapping[str, Any], limit: int = 8) -> str:
    """Parameters and their values in a sentence.

    Example:
        >>> setting({"model.lr": 0.012345678, "width": 64})
        'model.lr 0.01235, width 64'
    """
    return listed([f"{name} {said(value)}" for name, value in params.items()], limit)


def said(value: Any) -> str:
    """A parameter's value as text."""
    return figure(value) if isinstance(value, float) else str(value)


def on_test(monitor: str, figures: Iterable[str]) -> str | None:
    """The name of the test figure that is of the same quantity as a monitored one.

    Example:
        >>> on_test("val/log_loss", ["test/accuracy", "test/log_loss"]), on_test("val_loss", ["test_loss"])
        ('test/log_loss', 'test_loss')
    """
    names = list(figures)
    plain = monitor.partition("/dataloader_idx_")[0]
    wanted = [re.sub(r"^(val|valid|validation)(?=[^a-z]|$)", "test", plain), plain, monitor]
    return next((name for name in wanted if name in names), None)


def tested(study: Study) -> tuple[str, float] | None:
    """Name and value of the monitored quantity of the best trial on test, where it was tested."""
    if not study.ranked:
        return None
    best = study.ranked[0]
    name = on_test(study.monitor, best.test)
    return None if name is None or not math.isfinite(best.test[name]) else (name, best.test[name])


def words_of(study: Study) -> str:
    """The winner, how far it is ahead of the second, how trials ended, and validation against test."""
    counted = _ends(study.trials)
    if not study.ranked:
        return f"no trial is complete, so there is no best one. {counted}."
    best, *others = study.ranked
    count = len(study.ranked)
    winner = f"trial {best.number} is the best of {count} complete ones" if others else f"trial {best.number}"
    first = f"{winner}: {study.monitor} {figure(best.value or 0.0)}{_with(best)}"
    return " ".join(f"{part}." for part in (first, _lead(study), counted, _test(study)) if part)


def _with(best: Trial) -> str:
    return f" with {setting(best.params)}" if best.params else ""


def _lead(study: Study) -> str:
    if len(study.ranked) < 2:
        return ""
    best, second = study.ranked[:2]
    ahead = abs((best.value or 0.0) - (second.value or 0.0))
    if not ahead:
        return f"Trial {second.number} is as good"
    return f"The second, trial {second.number}, has {figure(second.value or 0.0)}, {figure(ahead)} behind"


def _ends(trials: tuple[Trial, ...]) -> str:
    found: Counter[str] = Counter(trial.status for trial in trials)
    counted = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    plural = "" if len(trials) == 1 else "s"
    return f"{len(trials)} trial{plural}: {counted}" if trials else "0 trials"


def _test(study: Study) -> str:
    """Validation against test, with a word on which is to be believed."""
    found = tested(study)
    if found is None:
        return ""
    value, count = study.ranked[0].value or 0.0, len(study.ranked)
    worse = study.sign * (found[1] - value)
    start = f"On test it has {found[0]} {figure(found[1])}"
    if worse <= 0 or count == 1:
        return f"{start}, {figure(abs(worse))} {'worse' if worse > 0 else 'better'} than on validation"
    return f"{start}: the best of {count} on validation is optimistic, here by {figure(worse)}"


def notes_of(study: Study) -> tuple[str, ...]:
    """What is to be known beside the figures."""
    notes = (*_failures(study), _undefined(study), _random(study), _optimism(study), study.importance_found.reason)
    return tuple(note for note in notes if note)


def _failures(study: Study) -> tuple[str, ...]:
    """The commonest reasons for which trials failed."""
    reasons = Counter(trial.reason or "no reason is known" for trial in study.trials if trial.status == "failed")
    plural = {True: "trial", False: "trials"}
    return tuple(
        f"{count} {plural[count == 1]} failed: {reason[:LONGEST].rstrip('.')}"
        for reason, count in reasons.most_common(REASONS)
    )


def _undefined(study: Study) -> str:
    odd = [str(trial.number) for trial in study.trials if trial.status == "complete" and not trial.counts]
    return f"{study.monitor} is no finite number in trial {listed(odd)}, left out" if odd else ""


def _random(study: Study) -> str:
    count = len(study.trials)
    if study.sampler not in MODELS or not 0 < count < FEW:
        return ""
    drawn = min(count, RANDOM)
    whole = "all were" if drawn == count else f"the first {drawn} were"
    return f"{whole} drawn at random, as {study.sampler} begins: take {FEW} trials or more for it to have a say"


def _optimism(study: Study) -> str:
    count = len(study.ranked)
    if count < 2 or tested(study) is not None:
        return ""
    return f"the best of {count} on validation is optimistic, as it was chosen by that figure: report it on test"
