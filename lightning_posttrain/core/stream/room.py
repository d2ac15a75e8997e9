"""Whether a fit has room for optional work in an evaluation, as this rank would have it."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Trainer

from lightning_posttrain.core.stream.costs import Costs
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.run import progress


def proposed(trainer: Trainer, costs: Costs, members: Sequence[Member]) -> list[bool] | None:
    """For each share that members keep to whether there is room; None where that is decided, or not asked."""
    if trainer.state.fn != "fit" or trainer.sanity_checking:
        return None
    shares = sorted({member.max_overhead for member in members if member.max_overhead is not None})
    moment, last = (trainer.current_epoch, trainer.global_step), progress(trainer) == 1.0
    return costs.budget.propose(moment, shares, elapsed=costs.elapsed(), last=last)
