"""What methods found, as a result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lightning_posttrain.explanations.perturbation.reliability import of_lime, of_rule, of_shap
from lightning_posttrain.explanations.perturbation.segments import Parts
from lightning_posttrain.explanations.perturbation.settings import (
    READ,
    READ_OF_TABLES,
    SIGNED,
    TITLES,
    PerturbationSettings,
    Subject,
)
from lightning_posttrain.explanations.result.explained import Explained
from lightning_posttrain.explanations.result.interpretation import Importance, LimeWeights, ShapleyValues
from lightning_posttrain.explanations.result.rule import Rule
from lightning_posttrain.samples.kinds import channel_dim
from lightning_posttrain.samples.result import Sample, SampleMaps

WEAK = 0.01
"""What full colour stands for at least, where values are probabilities."""
PLACE = re.compile(r"(?:part|row|band) (\d+)(?:.*?(?:column|time) (\d+))?")


@dataclass(eq=False)
class Found:
    """What is known so far of the samples of a subject.

    Args:
        subject: what is explained.
        how: how.
        parts: what samples are taken apart into.
        values: by method, that of each part ``(K, M)``.
    """

    subject: Subject
    how: PerturbationSettings
    parts: Parts
    values: dict[str, Tensor] = field(default_factory=dict)
    lime: LimeWeights | None = None
    shap: ShapleyValues | None = None
    rules: tuple[Rule, ...] = ()
    importance: Importance | None = None

    def result(self, skipped: Mapping[str, str]) -> Explained:
        """All that was found."""
        subject = self.subject
        parts = tuple(self.parts.names_of(k) for k in range(len(subject.inputs)))
        classes = subject.class_names
        return Explained(
            saliency=self._saliency(skipped), parts=parts, values=self.values, lime=self.lime, shap=self.shap,
            rules=self.rules, importance=self.importance, unit=subject.unit, figures=self._figures(),
            class_names=(*classes, *(f"no {name}" for name in classes)) if subject.labels is not None else classes,
        )  # fmt: skip

    def _figures(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        if self.lime is not None:
            figures |= {"lime/fit": float(self.lime.fit.nanmean()), "lime/spread": float(self.lime.spread.mean())}
        if self.shap is not None:
            figures["shap/gap"] = float(self.shap.gap.abs().max())
        if self.rules:
            figures["anchors/valid"] = sum(rule.valid for rule in self.rules) / len(self.rules)
        return figures

    def _saliency(self, skipped: Mapping[str, str]) -> SampleMaps:
        subject, display = self.subject, self.how.display
        maps = {name: self._map(values) for name, values in self.values.items()}
        if self.rules and self.subject.kind != "tabular":
            maps["anchors"] = self._map(torch.stack([self._in_rule(rule) for rule in self.rules]))
        read = READ_OF_TABLES if subject.kind == "tabular" else READ
        samples = tuple(self._known(k, sample) for k, sample in enumerate(subject.samples))
        regions = self._regions() if subject.kind in ("image", "spectrogram") else None
        none = {k: "no rule found" for k, rule in enumerate(self.rules) if not rule.found}
        return SampleMaps(
            kind=subject.kind, shown=display.shown(subject.shown, subject.kind), maps=maps, titles=TITLES,
            signed=SIGNED & maps.keys(), samples=samples, names=tuple(map(str, display.names or ())),
            words=display.words_of(subject.shown) if subject.kind == "tokens" else (),
            regions=regions, marks=() if regions is None else tuple(map(marks_of, self.rules)), skipped=skipped,
            shared_scale=subject.unit == "probability", least_scale=WEAK if subject.unit == "probability" else 0.0,
            refused={"anchors": none} if none and "anchors" in maps else {},
            said=tuple(read[name] for name in maps if name in read), colors=display.colors,
        )  # fmt: skip

    def _known(self, k: int, sample: Sample) -> Sample:
        """What is known of sample ``k``, with how good its explanations are."""
        remark, doubt = ("", "") if self.lime is None else of_lime(self.lime, k)
        noisy = "" if self.shap is None else of_shap(self.shap, k)
        unsure = of_rule(self.rules[k]) if self.rules and self.subject.kind != "tabular" else ""
        base = sample.baseline if self.shap is None else float(self.shap.base[k])
        return replace(
            sample, baseline=base, unit=self.subject.unit, remarks=tuple(filter(None, (remark,))),
            doubts=tuple(filter(None, (doubt, noisy, unsure))),
        )  # fmt: skip

    def _in_rule(self, rule: Rule) -> Tensor:
        found = torch.zeros(self.parts.count)
        found[[condition.part for condition in rule.conditions]] = 1.0
        return found

    def _map(self, values: Tensor) -> Tensor:
        """Values of parts ``(K, M)`` where these lie ``(K, *spatial)``, float32; 0 where there is no part."""
        place = self._regions().clamp(max=self.parts.count)
        padded = torch.cat([values, values.new_zeros(len(values), 1)], 1).float()
        return padded.gather(1, place.flatten(1)).view(place.shape)

    def _regions(self) -> Tensor:
        """The part of each place of a map ``(K, *spatial)``, on the CPU."""
        shape, dim = self.subject.inputs.shape, channel_dim(self.subject.inputs.shape, self.subject.kind)
        index = self.parts.index.cpu().expand(shape[0], *self.parts.index.shape[1:])
        if dim is not None:
            index = index.select(dim, 0)
        spatial = [side for d, side in enumerate(shape) if d not in (0, dim)]
        return index.expand(shape[0], *spatial).contiguous()


def marks_of(rule: Rule) -> dict[int, str]:
    """What to write on the parts of a rule so that its conditions are found in the picture, by part.

    Example:
        >>> from lightning_posttrain.explanations.result.rule import Condition
        >>> parts = Condition(40, "part 41"), Condition(3, "row 1, column 4"), Condition(9, "sky")
        >>> marks_of(Rule(parts, 0, 1.0, 0.9, rows=99, coverage=0.1, base=0.2, valid=True, observed=False))
        {40: '41', 3: '1,4'}
    """
    places = ((condition.part, PLACE.match(condition.name)) for condition in rule.conditions)
    return {part: ",".join(filter(None, place.groups())) for part, place in places if place}
