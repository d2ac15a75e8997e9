"""From a model and a few samples to their explanations, as a result; forwards serve as many methods as they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_posttrain.explanations.perturbation.lime import joined as joined_lime
from lightning_posttrain.explanations.perturbation.methods import Run
from lightning_posttrain.explanations.perturbation.outcome import Found
from lightning_posttrain.explanations.perturbation.segments import Parts, parts_of, placed
from lightning_posttrain.explanations.perturbation.settings import PerturbationSettings, Subject
from lightning_posttrain.explanations.result.explained import Explained
from lightning_posttrain.explanations.result.interpretation import ShapleyValues
from lightning_posttrain.explanations.result.rule import Rule

Failed = Callable[[str, Exception], None]


def explain_samples(subject: Subject, how: PerturbationSettings, failed: Failed | None = None) -> Explained:
    """Explanations of samples by several methods; a method that has no meaning here, or no time, is left out and said.

    Args:
        subject: what is explained.
        how: how.
        failed: told of an error in a method, which is then left out; default: the error is raised.
    """
    words = how.display.words_of(subject.shown) if subject.kind == "tokens" else ()
    names = () if how.display.names is None else how.display.names
    parts = parts_of(subject.inputs, subject.kind, how=how.parts, names=names, words=words)
    which = parts.each(len(subject.inputs))
    if not subject.alone and all(len(own) == parts.count for own in which):
        run = Run(subject, how, parts)
        run.go(failed)
        return run.found.result(run.skipped)
    # what a sample has not, as padding, would count as parts that change nothing
    runs = []
    for k, own in enumerate(which):
        run = Run(subject.only(k), how, parts.only(k, own))
        with subject.chunks.within(1 / (len(which) - k)):
            run.go(failed)
        runs.append(run)
    skipped = {name: reason for run in runs for name, reason in run.skipped.items()}
    return _joined(subject, how, parts, which, [run.found for run in runs]).result(skipped)


def _joined(
    subject: Subject, how: PerturbationSettings, parts: Parts, which: Sequence[Tensor], alone: Sequence[Found]
) -> Found:
    """What was found of each sample alone, of the parts ``which`` it has, as found of all."""
    found = Found(subject, how, parts)

    def joined(each: Sequence[Tensor]) -> Tensor:
        return placed(which, each, parts.count)

    for name in alone[0].values:
        if all(name in one.values for one in alone):
            found.values[name] = joined([one.values[name].cpu() for one in alone])
    lime = [one.lime for one in alone if one.lime is not None]
    if len(lime) == len(alone):
        found.lime = joined_lime(lime, which, parts.count)
    shap = [one.shap for one in alone if one.shap is not None]
    if len(shap) == len(alone):
        kinds = {one.method for one in shap}
        found.shap = ShapleyValues(
            values=found.values["shap"], errors=joined([one.errors for one in shap]),
            forwards=sum(one.forwards for one in shap), method=kinds.pop() if len(kinds) == 1 else "exact or kernel",
            **{name: torch.cat([getattr(one, name) for one in shap]) for name in ("base", "output", "gap")},
        )  # fmt: skip
    if all(one.rules for one in alone):
        pairs = zip(which, alone, strict=True)
        found.rules = tuple(_renumbered(rule, own.tolist()) for own, one in pairs for rule in one.rules)
    return found


def _renumbered(rule: Rule, numbers: Sequence[int]) -> Rule:
    """A rule about a sample's own parts, with their numbers among all parts."""
    conditions = (replace(condition, part=numbers[condition.part]) for condition in rule.conditions)
    return replace(rule, conditions=tuple(conditions))
