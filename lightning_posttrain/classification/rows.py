"""Facts of each row of a batch, from which nearly every figure derives, and how they are measured in one pass.

A row is one decision between ``K`` classes: a row of a multiclass or binary batch, or one label of a row of a
multilabel batch, which is a decision between two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from lightning_posttrain.core.statistics.precision import wide

LEFT_OUT = torch.iinfo(torch.int64).min
"""Target of a row that is not to be counted, as one that a distributed sampler repeated."""
FACTS = ("target", "predicted", "top", "own", "others", "others_norm", "rank")
WHOLE = {"target": torch.int64, "predicted": torch.int64}
BASIC = frozenset({"target", "predicted", "top"})
LOSS = frozenset({"own", "others", "others_norm"})


@dataclass(frozen=True, eq=False)
class RowFacts:
    """What is known of ``M`` rows.

    Args:
        num_classes: ``K``, between which each row decides.
        facts: by name, each ``(M,)``: ``target`` and ``predicted`` class; ``top``, the largest score; ``own``, that
            of the target; ``others``, the sum over the other classes of ``exp(score - top)``, and ``others_norm``,
            the root of the sum of its squares; ``rank``, how many classes come before the target's.
        group: which label a row belongs to ``(M,)``, or None where there is one group.
    """

    num_classes: int
    facts: Mapping[str, Tensor]
    group: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.facts[name]

    @cached_property
    def label(self) -> Tensor:
        """``target``, brought into the range of classes."""
        known = self.facts.get("label")
        return self["target"].clamp(0, self.num_classes - 1) if known is None else known

    @cached_property
    def real(self) -> Tensor:
        """False for rows that were not to be counted."""
        return self["target"] != LEFT_OUT

    @cached_property
    def in_range(self) -> Tensor:
        """False where ``target`` is no class."""
        return self.label == self["target"]

    @cached_property
    def finite(self) -> Tensor:
        """False where the largest score is NaN or infinite; ``-inf`` beside finite scores is a class ruled out."""
        top = self["top"]
        return top - top == 0  # as torch.isfinite, in half as many operations

    @cached_property
    def counted(self) -> Tensor:
        """True for the rows that enter a figure."""
        return self.in_range & self.finite

    @cached_property
    def right(self) -> Tensor:
        """True where the target was predicted."""
        return self.label == self["predicted"]

    @cached_property
    def _others(self) -> Tensor:
        return wide(self["others"])

    @cached_property
    def confidence(self) -> Tensor:
        """Probability of the predicted class."""
        return 1 / (1 + self._others)

    @cached_property
    def of_one(self) -> Tensor:
        """Probability of class 1 in a decision between two."""
        rest = self._others * self.confidence
        return torch.where(self["predicted"] == 1, self.confidence, rest)

    @cached_property
    def log_loss(self) -> Tensor:
        """Minus the log of the target's probability."""
        return torch.log1p(self._others) - self["own"] + self["top"]

    @cached_property
    def brier(self) -> Tensor:
        """Squared distance of the probabilities to the target's; between two classes, of one of them.

        As scikit-learn's (Brier, 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
        """
        squares = (1 + wide(self["others_norm"]).square()) * self.confidence.square()
        distance = squares - 2 * torch.exp(-self.log_loss) + 1
        return distance / 2 if self.num_classes == 2 else distance

    def __len__(self) -> int:
        return len(self["target"])


def columns(rows: int, names: Iterable[str], like: Tensor) -> dict[str, Tensor]:
    """Empty tensors ``(rows,)`` for facts, of the type and device of ``like``."""
    return {name: like.new_empty(rows, dtype=WHOLE.get(name, like.dtype)) for name in FACTS if name in names}


@lru_cache(64)
def numbers(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 to ``count - 1``, made once; not to be changed."""
    with torch.inference_mode(False):
        return torch.arange(count, dtype=dtype, device=device)


def measure(scores: Tensor, target: Tensor, into: Mapping[str, Tensor]) -> RowFacts:
    """Measure the facts of a multiclass batch that ``into`` has a place for, without a synchronisation.

    Args:
        scores: logits ``(N, C)``.
        target: ``(N,)``, int64; any value.
        into: tensors ``(N,)`` by name of the fact.
    """
    top, predicted = into["top"], into["predicted"]
    torch.max(scores, 1, out=(top, predicted))
    into["target"].copy_(target)
    if "own" not in into and "rank" not in into:
        return RowFacts(scores.shape[1], into)
    label = target.clamp(0, scores.shape[1] - 1)[:, None]
    own = torch.gather(scores, 1, label, out=into["own"][:, None] if "own" in into else None)
    if "own" in into:
        # the largest is left out of the sum: near a probability of one, what remains is all that is known
        others = (scores - top[:, None]).exp_().scatter_(1, predicted[:, None], 0.0)
        torch.sum(others, 1, out=into["others"])
        _norm(others, into["others_norm"])
    if "rank" in into:
        _rank(scores, own, label, into["rank"])
    return RowFacts(scores.shape[1], {**into, "label": label[:, 0]})


def _norm(values: Tensor, into: Tensor) -> None:
    if values.stride(1) == 1:
        torch.linalg.vector_norm(values, dim=1, out=into)
    else:  # the classes of one picture lie far apart, where it would take ten times as long
        torch.sum(values.square_(), 1, out=into).sqrt_()


def _rank(scores: Tensor, own: Tensor, label: Tensor, into: Tensor) -> None:
    """How many columns come before each row's own: larger scores, and equal ones of earlier columns, as for argmax."""
    columns = numbers(scores.shape[1], torch.float32, scores.device)  # which holds whole numbers up to 16 million
    # comparisons of floats into floats: others are not vectorised on a CPU
    before, equal, earlier = (torch.empty_like(scores) for _ in range(3))
    torch.gt(scores, own, out=before)
    torch.eq(scores, own, out=equal)
    torch.lt(columns, label, out=earlier)
    torch.sum(before.addcmul_(equal, earlier), 1, out=into)


def measure_labels(scores: Tensor, target: Tensor) -> RowFacts:
    """The facts of a multilabel batch, each label a row that decides between two classes.

    Args:
        scores: log-odds ``(N, L)``.
        target: ``(N, L)``, int64.
    """
    log_odds, flat = scores.reshape(-1), target.reshape(-1)
    predicted = (log_odds > 0).long()
    margin = log_odds.abs()
    others = torch.exp(-margin)
    facts = {
        "target": flat,
        "predicted": predicted,
        # scores of the two are 0 and -margin; a label may be certain, its margin infinite
        "top": torch.where(margin.isnan(), margin, 0.0),
        "own": torch.where(predicted == flat, 0.0, -margin),
        "others": others,
        "others_norm": others,
    }
    group = numbers(scores.shape[1], torch.int64, scores.device).expand(scores.shape).reshape(-1)
    return RowFacts(2, facts, group)
