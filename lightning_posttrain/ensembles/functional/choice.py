"""Which of several strategies to take, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from lightning_posttrain.ensembles.functional.paired import ROUGH, paired_error, paired_interval
from lightning_posttrain.ensembles.functional.strategies import TITLES

BEST = "best"
ALONE = (BEST, "best_temperature")
"""Strategies of one member."""
NONE = "no ensemble: the best checkpoint alone"


class Choice(NamedTuple):
    """A strategy's name, whether it is worth more than the best checkpoint, and that in words."""

    chosen: str
    kept: bool
    reason: str


def choose(names: Sequence[str], losses: Tensor, groups: Tensor | None = None) -> Choice:
    """The simplest strategy within one standard error of the best, if it beats the best checkpoint by more than one.

    Errors are those of paired differences. (The rule of one standard error is of Breiman et al., 1984,
    doi:10.1201/9781315139470.)

    Args:
        names: from simple to complex, ``"best"`` among them.
        losses: of rows that were left out ``(R, S)``.
        groups: the sample of each row ``(R,)``.

    Example:
        >>> import torch
        >>> losses = torch.tensor([[1.0, 0.4], [1.2, 0.8], [0.9, 0.6]]).repeat(100, 1)
        >>> choose(["best", "mean"], losses).reason
        'mean of probabilities: log loss 0.6 on 300 rows left out, 0.433 (0.419 to 0.447) below the best checkpoint'
    """
    means = losses.mean(dim=0)
    top = int(means.argmin())
    near = means - means[top] <= paired_error(losses - losses[:, top, None], groups)
    simplest = int(near.nonzero()[0, 0])
    gain = losses[:, names.index(BEST), None] - losses
    kept = bool(gain.mean(dim=0)[simplest] > paired_error(gain, groups)[simplest])
    said = _Words(names, means, paired_interval(gain, groups), len(losses))
    if kept:
        return Choice(names[simplest], True, said.kept(simplest, top))
    return Choice(BEST, False, said.refused(top))


def nothing_to_choose(names: Sequence[str], left_out: Mapping[str, str]) -> Choice:
    """The best checkpoint, and why no other strategy can be judged."""
    why = next(iter(left_out.values()), "no other strategy was asked for" if len(names) < 2 else "")
    return Choice(BEST, False, f"{NONE}; {why}" if why else NONE)


class _Words(NamedTuple):
    """Names, mean losses ``(S,)``, intervals of what is gained over the best checkpoint ``(S, 2)``, and rows."""

    names: Sequence[str]
    means: Tensor
    interval: Tensor
    rows: int

    def kept(self, chosen: int, top: int) -> str:
        title = TITLES[self.names[chosen]]
        head = f"{title}: {self._figures(chosen)}, {self._gain(chosen)} below the best checkpoint"
        if self.names[chosen] in ALONE:
            head = f"no ensemble; {head}"
        if chosen == top:
            return head
        return f"{head}; {TITLES[self.names[top]]} has {self.means[top]:.4g}, within one standard error"

    def refused(self, top: int) -> str:
        best = self.names.index(BEST)
        if top == best:
            return f"{NONE}; {self._figures(best)}, which no other strategy lowers"
        title = TITLES[self.names[top]]
        return f"{NONE}; {self._figures(best)}, and {title} would lower it by {self._gain(top)} only"

    def _figures(self, column: int) -> str:
        return f"log loss {self.means[column]:.4g} on {self.rows:,} rows left out"

    def _gain(self, column: int) -> str:
        low, high = self.interval[column].tolist()
        rough = ", roughly" if self.rows < ROUGH else ""
        return f"{float(self.interval[column].mean()):.3g} ({low:.3g} to {high:.3g}{rough})"
