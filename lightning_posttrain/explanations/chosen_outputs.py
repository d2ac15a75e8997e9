"""Which outputs of a model are kept where it has very many, of which an explanation needs few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.perturbation.importance import most_predicted
from lightning_posttrain.samples.targets import Question

MOST = 1000
"""With more classes than this, those that nothing is asked about are one."""
ANOTHER = "another class"
AT_ONCE = 1 << 20
"""Logits that are looked at in one pass."""


@dataclass(frozen=True, eq=False)
class ChosenOutputs:
    """All outputs, or of very many classes some, and behind these that of another class where it is the largest.

    So the class with the largest output is known as well as with all, or is another one.

    Args:
        classes: those that are kept ``(W,)``, in order; None for all.
    """

    classes: Tensor | None = None

    @classmethod
    def of(cls, asked: Sequence[Question], logits: Tensor, others: Tensor | None) -> ChosenOutputs:
        """Those that an explanation of classes needs.

        Args:
            asked: about which classes, and rivals of theirs.
            logits: of the samples ``(K, C)``, whose predicted classes are kept.
            others: scores of other rows ``(N, C)``, of which the classes are kept that are predicted most; or None.
        """
        if logits.shape[1] <= MOST:
            return cls()
        named = [number for one in asked for number in (one.explained, one.rival) if number is not None]
        kept = [torch.tensor(named), logits.argmax(1), *([] if others is None else [most_predicted(others)])]
        return cls(torch.unique(torch.cat(kept)))

    def read(self, logits: Tensor, *, probability: bool) -> Tensor:
        """Logits ``(n, C)``, or probabilities, of those that are kept; the last is -inf, or 0, where it is not largest.

        Args:
            logits: of all classes, float32.
            probability: whether these are wanted.
        """
        assert self.classes is not None
        classes, room = self.classes.to(logits.device), max(1, AT_ONCE // logits.shape[1])
        known = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device).index_fill_(0, classes, True)
        found = logits.new_empty(len(logits), len(classes) + 1)
        for first in range(0, len(logits), room):
            part, into = logits[first : first + room], found[first : first + room]
            top, largest = part.max(1)
            into[:, :-1] = part[:, classes]
            into[:, -1] = top.masked_fill(known[largest], -torch.inf)
            if probability:
                total = (part - top[:, None]).exp_().sum(1)
                into.sub_(top[:, None]).exp_().div_(total[:, None])
        return found

    def pick(self, asked: Sequence[Question], width: int, *, alone: bool = False) -> Tensor:
        """Weight of each output in what is explained ``(K, W + 1)``, or of all ``(K, width)``.

        Args:
            asked: about which classes, and rivals of theirs.
            width: number of all outputs.
            alone: one output speaks for both classes, so that a rival counts nothing.
        """
        pick = torch.zeros(len(asked), width)
        for place, question in enumerate(asked):
            pick[place, question.explained] += 1
            if question.rival is not None and not alone:
                pick[place, question.rival] -= 1
        return pick if self.classes is None else torch.cat([pick[:, self.classes], torch.zeros(len(asked), 1)], 1)

    def names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Of those that are kept, of the names of all."""
        return names if self.classes is None else (*(names[i] for i in self.classes.tolist()), ANOTHER)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the classes that are kept, without the last output; none where all are kept."""
        return () if self.classes is None else tuple(self.classes.tolist())
