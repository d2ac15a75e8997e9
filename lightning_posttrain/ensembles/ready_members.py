"""Members that are ready to be run, and the strategies that are judged with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lightning_posttrain.ensembles.fit import EnsembleFit
from lightning_posttrain.ensembles.functional.choice import BEST
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.judging import Strategy
from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import MemberState


@dataclass(frozen=True, eq=False)
class ReadyMembers:
    """Members that are ready to be run.

    Args:
        members: run them.
        states: theirs, in order.
        fit: what was fitted to them, or None.
    """

    members: Members
    states: Sequence[MemberState]
    fit: EnsembleFit | None

    @property
    def strategies(self) -> dict[str, Strategy]:
        """What is judged, the best member alone first; where nothing was fitted, what needs no fit."""
        if self.fit is not None:
            ways: dict[str, Strategy] = {**self.fit.strategies, **self.fit.alone}
            return {name: ways[name] for name in self.fit.validation}
        equal = torch.full((len(self.states),), 1 / len(self.states), dtype=torch.float64)
        means = {"mean": Combination("probabilities", equal), "mean_logits": Combination("logits", equal)}
        return {BEST: len(self.states) - 1, **(means if len(self.states) > 1 else {})}

    @property
    def mixed(self) -> int:
        """How many of the members, from the first, are combined; the others are averages of these."""
        return len(self.states) if self.fit is None else len(self.fit.members)

    @property
    def shipped(self) -> str:
        """The strategy whose scores others read: what was chosen, else the mean."""
        if self.fit is not None:
            return self.fit.chosen
        return "mean" if len(self.states) > 1 else BEST
