"""The report of a classifier, from what was counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.bootstrap import can_resample, interval, replicates, seen_classes
from lightning_posttrain.classification.functional.class_figures import (
    agreement,
    averages,
    class_figures,
    label_mcc,
    micro,
    without,
)
from lightning_posttrain.classification.functional.confusion import class_counts
from lightning_posttrain.classification.result.confusion import (
    ClassCounts,
    Confusion,
    LabelConfusion,
    left_out_on_purpose,
)
from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.classification.result.scores import (
    Bounded,
    Losses,
    RankedScores,
    Ranks,
    Reliability,
    ranked_of,
)
from lightning_posttrain.core.output.deferred import Deferred, DeferredSequence, Joined
from lightning_posttrain.core.output.result import Result, listed

Named = dict[str, Tensor]
Interval = tuple[float, float]
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Findings:
    """What was counted of an evaluation; only the confusion is needed.

    ``scores`` and ``exact`` are what two metrics tell of the order of scores; the better known one is taken.
    """

    confusion: Confusion | LabelConfusion
    losses: Losses | None = None
    ranks: Ranks | None = None
    reliability: Reliability | None = None
    scores: RankedScores | None = None
    exact: RankedScores | None = None

    @classmethod
    def of(cls, results: Iterable[Result], class_names: tuple[str, ...] | None = None) -> Findings:
        """Those of ``results`` that a report follows from."""
        found = list(results)

        def first(*kinds: type[Any]) -> Any:
            return next((result for result in found if isinstance(result, kinds)), None)

        confusion = first(Confusion, LabelConfusion)
        named = confusion if class_names is None else replace(confusion, class_names=class_names)
        return cls(named, first(Losses), first(Ranks), first(Reliability), ranked_of(found))

    @property
    def ranked(self) -> RankedScores | None:
        """The one that is better known."""
        return ranked_of(one for one in (self.exact, self.scores) if one is not None)


def classification_report(
    found: Findings | Confusion | LabelConfusion,
    *,
    binary: bool = False,
    beta: float = 1.0,
    top_k: Sequence[int] = (),
    resamples: int = 0,
    positions: bool = False,
) -> ClassificationReport:
    """Work out all figures that follow from what was counted, in float64.

    Args:
        found: what was counted; a confusion alone gives what follows from it.
        binary: name the figures of class 1 without its name, as scikit-learn does.
        beta: weight of recall in F-beta.
        top_k: the ``k`` of the top-k accuracies.
        resamples: bootstrap replicates for intervals; 0 for none.
        positions: whether several rows are of one sample, as pixels of an image are, so that they are not drawn again.

    Example:
        >>> report = classification_report(Confusion(torch.tensor([[3, 1], [0, 4]]), ("no", "yes")))
        >>> report["accuracy"], report.per_class["recall"].tolist()
        (0.875, [0.75, 1.0])
    """
    found = found if isinstance(found, Findings) else Findings(found)
    counts = class_counts(found.confusion)
    whole, each = _from_counts(found.confusion, counts, beta, binary=binary)
    scores = found.ranked
    each_area = _areas(scores)
    ranked = _from_scores(scores, found.confusion.support.double(), binary=binary)
    intervals, class_intervals = _intervals(found.confusion, beta, 0 if positions else resamples, binary=binary)
    known = {name: float(value) for name, value in whole.items()}
    known.update(_from_rows(found, top_k, binary=binary))
    return ClassificationReport(
        class_names=found.confusion.class_names,
        support=found.confusion.support,
        overall=Joined(known, *(_numbers(part, lambda area: float(area.value)) for part in ranked)),
        per_class={**each, **{name: area.value for name, area in each_area.items()}, **_losses_of_labels(found)},
        intervals=intervals,
        class_intervals=class_intervals,
        bounds=Joined(*(_numbers(part, lambda area: (float(area.low), float(area.high))) for part in ranked)),
        class_bounds={name: torch.stack([area.low, area.high]) for name, area in each_area.items()},
        undefined=_undefined(found.confusion, counts),
        worth=DeferredSequence(lambda: scores.worth if scores else ()),
        positions=positions,
        alerts=(*found.confusion.alerts, *(found.losses.alerts if found.losses else ())),
    )


def _from_counts(
    confusion: Confusion | LabelConfusion, counts: ClassCounts, beta: float, *, binary: bool
) -> tuple[Named, Named]:
    """Figures of the whole set and of each class; with replicates, of each of those."""
    each = without(class_figures(counts, beta), _ignored(confusion))
    if isinstance(confusion, LabelConfusion):
        each["mcc"] = label_mcc(counts)
        together = class_figures(micro(counts), beta)
        pooled = {f"{name}_micro": values[..., 0] for name, values in together.items()}
        wrong = counts.false_positive + counts.false_negative
        hamming = {"hamming_loss": wrong.sum(dim=-1) / counts.total.sum(dim=-1)}
        return {**hamming, **averages(each, counts.support), **pooled}, each
    positive = {name: values[..., 1] for name, values in each.items()} if binary else {}
    return {**agreement(counts), **positive, **averages(each, counts.support)}, each


def _from_rows(found: Findings, top_k: Sequence[int], *, binary: bool) -> dict[str, float]:
    named = {}
    if isinstance(found.confusion, LabelConfusion):
        rows = found.confusion.rows
        named["accuracy"] = found.confusion.exact / rows if rows else torch.nan
    elif found.ranks is not None:
        named.update({f"top_{k}_accuracy": found.ranks.top(k) for k in top_k if k < len(found.confusion.class_names)})
    if found.losses is not None:
        named.update(log_loss=float(found.losses.log_loss.nanmean()), brier=float(found.losses.brier.nanmean()))
    if found.reliability is not None:
        of_one = binary or isinstance(found.confusion, LabelConfusion)
        named["ece"] = found.reliability.ece_of_one if of_one else found.reliability.ece
    return named


def _from_scores(found: RankedScores | None, support: Tensor, *, binary: bool) -> list[Mapping[str, Bounded]]:
    """Areas under curves of the whole set, by name; those of all classes together when they are first asked for."""
    parts: list[Mapping[str, Bounded]] = []
    for name, each in _areas(found).items():
        if binary:
            parts.append({name: Bounded(*(values[1] for values in each))})
        elif found is not None:
            parts += [_means(name, each, support), _pooled(name, found)]
    return parts


def _means(name: str, each: Bounded, support: Tensor) -> dict[str, Bounded]:
    means = [averages({name: values}, support) for values in each]
    return {average: Bounded(*(mean[average] for mean in means)) for average in means[0]}


def _pooled(name: str, found: RankedScores) -> Mapping[str, Bounded]:
    pooled = f"{name}_micro"
    return Deferred(lambda: {pooled: Bounded(*(values[0] for values in found.pooled[name]))}, (pooled,))


def _numbers(areas: Mapping[str, Bounded], number: Callable[[Bounded], Value]) -> Mapping[str, Value]:
    """What is told of areas, when it is first asked for where they are worked out then."""
    if isinstance(areas, Deferred):
        return Deferred(lambda: {name: number(area) for name, area in areas.items()}, tuple(areas))
    return {name: number(area) for name, area in areas.items()}


def _losses_of_labels(found: Findings) -> Named:
    if found.losses is None or len(found.losses.log_loss) <= 1:
        return {}
    return {"log_loss": found.losses.log_loss, "brier": found.losses.brier}


def _areas(found: RankedScores | None) -> dict[str, Bounded]:
    """Areas under curves of each class, by name, where they are known."""
    if found is None or not found.known:
        return {}
    return {"auroc": found.auroc, "average_precision": found.average_precision}


def _intervals(
    confusion: Confusion | LabelConfusion, beta: float, resamples: int, *, binary: bool
) -> tuple[Mapping[str, Interval], Mapping[str, Tensor]]:
    """Of the whole set and of each class, worked out when they are first looked at, as nothing that is logged is."""
    if not resamples or not can_resample(confusion):
        return {}, {}
    found = Deferred(lambda: _bootstrap(confusion, beta, resamples, binary=binary))
    return Deferred(lambda: found["whole"]), Deferred(lambda: found["each"])


def _bootstrap(
    confusion: Confusion | LabelConfusion, beta: float, resamples: int, *, binary: bool
) -> dict[str, dict[str, Any]]:
    number = len(confusion.class_names)
    seen = torch.arange(number) if binary else seen_classes(confusion)
    drawn = replicates(confusion, resamples, classes=seen)
    whole, each = zip(*(_from_counts(confusion, counts, beta, binary=binary) for counts in drawn), strict=True)
    ends = {name: interval(torch.cat([part[name] for part in whole])) for name in whole[0]}
    of_classes = {}
    for name in tuple(each[0]):
        of_classes[name] = torch.full((2, number), torch.nan, dtype=torch.float64)
        of_classes[name][:, seen] = interval(torch.cat([part.pop(name) for part in each]))
    return {"whole": {name: (float(low), float(high)) for name, (low, high) in ends.items()}, "each": of_classes}


def _undefined(confusion: Confusion | LabelConfusion, counts: ClassCounts) -> tuple[str, ...]:
    if not counts.total.sum():
        return ("no rows were counted",)
    ignored = _ignored(confusion)
    empty = counts.support == 0
    empty[list(ignored)] = False
    absent = _names(confusion, empty)
    unseen = _names(confusion, (counts.predicted == 0) & (counts.support > 0))
    said = (
        (absent, "no rows of {}: recall is not defined and not in the means"),
        (unseen, "never predicted: {}; precision counts as 0"),
    )
    named = tuple(text.format(names) for names, text in said if names)
    return (*named, *left_out_on_purpose(ignored, confusion.class_names))


def _ignored(confusion: Confusion | LabelConfusion) -> tuple[int, ...]:
    return confusion.ignored if isinstance(confusion, Confusion) else ()


def _names(confusion: Confusion | LabelConfusion, chosen: Tensor) -> str:
    return listed([confusion.class_names[i] for i in chosen.nonzero().flatten().tolist()])
