"""Shapley values of the parts of samples, and nothing that only approximates their idea."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.explanations.perturbation.arguments import game_of
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward, Game, pick_of
from lightning_posttrain.explanations.perturbation.perturbation_pool import Pool, kernel_shap_from_pool
from lightning_posttrain.explanations.perturbation.plans import Method, Plan, planned
from lightning_posttrain.explanations.perturbation.segments import Parts
from lightning_posttrain.explanations.result.interpretation import ShapleyValues


@dataclass(frozen=True, eq=False)
class OutputValues:
    """Shapley values for each output of a model, float64 on the CPU.

    Args:
        values: of each part ``(K, C, M)``, in units of the output.
        errors: standard error of each ``(K, C, M)``; zeros where exact, NaN where fewer than 4 draws cannot tell.
        base: mean output where all parts are hidden ``(K, C)``.
        output: what the model gives for the sample ``(K, C)``.
        method: ``"exact"``, ``"kernel"`` or ``"permutation"``.
        forwards: rows that the model was asked for.
    """

    values: Tensor
    errors: Tensor
    base: Tensor
    output: Tensor
    method: str
    forwards: int


def shapley(  # noqa: PLR0913 - each has a default that serves
    forward: Forward,
    inputs: Tensor,
    background: Tensor,
    *,
    parts: Tensor | Parts | None = None,
    count: int | None = None,
    target: int | Tensor | None = None,
    method: Method = "auto",
    samples: int | None = None,
    seed: int = 0,
    chunk: int = 4096,
) -> ShapleyValues:
    """How the output of each sample is divided over its parts (Shapley, 1953; arXiv:1705.07874).

    What a set of parts is worth is the mean output where the rows of ``background`` stand, one after the other, for
    the parts that are not in it. A part's value is what it adds to that, on average over all orders in which the parts
    may come; the values add up to the output less ``base``. Each is to be read with its standard error.

    Args:
        forward: from rows ``(n, ...)`` to outputs ``(n, C)`` or ``(n,)``, in eval mode; logits, as they add up.
        inputs: the samples ``(K, ...)``, on the model's device.
        background: rows ``(B, ...)`` as the model may meet them; some 20 to 100, as each costs a forward for each set;
            or as ``hidden_of`` gives it ``(K, B, ...)``.
        parts: the part that each value belongs to, whole numbers from 0: ``(K, ...)``, or ``(1, ...)`` for all samples
            alike, with 1 for a dimension that is not taken apart, as the channels; or what ``parts_of`` gives. None for
            each value of ``(K, F)``.
        count: how many parts there are; None for one more than the largest number in ``parts``.
        target: index of the explained output, for all samples or for each ``(K,)``; None for the largest of each.
        method: ``"exact"``, ``"kernel"``, ``"permutation"``, or ``"auto"``: exact for up to 12 parts, else the kernel.
        samples: sets of parts that are asked for, at most; None for ``2 * count + 1024``, and all where it is exact.
        seed: of the sets, which come from their own generator on the CPU and are the same for all samples.
        chunk: rows at a time, at most.

    Raises:
        ValueError: shapes that do not fit, an output that is not there, too few samples, or too many parts for
            ``"exact"``.

    Example:
        >>> import torch
        >>> larger = lambda rows: rows.amax(1)
        >>> shapley(larger, torch.tensor([[4.0, 2.0]]), torch.zeros(1, 2)).values.tolist()
        [[3.0, 1.0]]
    """
    game = game_of(forward, inputs, background, parts, count=count, chunks=Chunks(chunk))
    plan = planned(game.count, method, samples, seed)
    outputs = game.outputs(plan.coalitions)
    return _picked(game, plan, outputs, pick_of(outputs[:, 0], target))


def shapley_of_game(
    game: Game, pick: Tensor, *, method: Method = "auto", samples: int | None = None, seed: int = 0
) -> ShapleyValues:
    """Shapley values of weighted outputs, as one class, or one class less another; see ``shapley``.

    Args:
        game: samples and their parts.
        pick: weights of the outputs ``(K, C)``, or several for each sample ``(K, Q, C)``: then the values are
            ``(K, Q, M)``, and what belongs to a sample ``(K, Q)``.
        method: as for ``shapley``.
        samples: as for ``shapley``.
        seed: as for ``shapley``.

    Raises:
        ValueError: ``pick`` does not fit the outputs, or as for ``shapley``.
        OutOfTimeError: the time of the game is over.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> game = Game(lambda rows: rows * 3, x, torch.arange(2)[None], 2, torch.zeros(1, 1, 2))
        >>> shapley_of_game(game, torch.tensor([[1.0, -1.0]])).values.tolist()
        [[3.0, -6.0]]
    """
    plan = planned(game.count, method, samples, seed)
    return _picked(game, plan, game.outputs(plan.coalitions), pick)


def shapley_of_pool(pool: Pool, pick: Tensor) -> ShapleyValues:
    """Exact Shapley values from a complete pool, without another forward.

    Args:
        pool: outputs for all sets of parts.
        pick: weights of the outputs ``(K, C)``.

    Raises:
        ValueError: the pool lacks some sets.
    """
    if not pool.complete:
        raise ValueError(f"`pool` has {len(pool)} of 2^{pool.present.shape[1]} sets of parts. Use shapley_of_game.")
    weights = pick.cpu().double()
    outputs = (pool.outputs.cpu().double() * weights[:, None]).sum(-1, keepdim=True)
    values = kernel_shap_from_pool(pool.present, outputs)
    assert values is not None
    values, none = values[:, 0], int((~pool.present.any(1)).nonzero()[0])
    base, output = outputs[:, none, 0], outputs[:, 0, 0]
    gap = output - base - values.sum(1)
    return ShapleyValues(values, torch.zeros_like(values), base, output, gap, method="exact", forwards=0)


def all_outputs(game: Game, *, method: Method = "auto", samples: int | None = None, seed: int = 0) -> OutputValues:
    """Shapley values for every output at once, from the forwards that one output takes; see ``shapley``.

    Args:
        game: samples and their parts.
        method: as for ``shapley``.
        samples: as for ``shapley``.
        seed: as for ``shapley``.

    Raises:
        ValueError: as for ``shapley``.
        OutOfTimeError: the time of the game is over.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> game = Game(lambda rows: rows * 3, x, torch.arange(2)[None], 2, torch.zeros(1, 1, 2))
        >>> all_outputs(game).values.tolist()
        [[[3.0, 0.0], [0.0, 6.0]]]
    """
    plan = planned(game.count, method, samples, seed)
    return _solved(game, plan, game.outputs(plan.coalitions).cpu().double())


def _solved(game: Game, plan: Plan, outputs: Tensor) -> OutputValues:
    """What follows from outputs ``(K, 2P, C)`` float64 for the coalitions of a plan."""
    there, others = outputs.chunk(2, dim=1)
    values, errors = plan.solve(there - others)
    forwards = len(game) * len(plan.coalitions) * game.hidden.shape[1]
    return OutputValues(values.mT, errors.mT, others[:, 0], there[:, 0], plan.method, forwards)


def _picked(game: Game, plan: Plan, outputs: Tensor, pick: Tensor) -> ShapleyValues:
    """Values of outputs ``(K, 2P, C)`` weighted with ``pick``."""
    samples, _, number = outputs.shape
    if pick.ndim not in (2, 3) or len(pick) != samples or pick.shape[-1] != number:
        raise ValueError(
            f"`pick` is {tuple(pick.shape)} for {samples} samples with {number} outputs, "
            f"wanted ({samples}, {number}) or ({samples}, Q, {number}): the weight of each output."
        )
    one = pick.ndim == 2
    weights = (pick[:, None] if one else pick).cpu().double()
    # an output that is not asked for may be infinite, as that of a class ruled out
    asked = outputs.cpu().double().where((weights != 0).any(1, keepdim=True), 0.0)
    found = _solved(game, plan, asked @ weights.mT)
    values, errors, base, output = (
        each[:, 0] if one else each for each in (found.values, found.errors, found.base, found.output)
    )
    return ShapleyValues(
        values, errors, base, output, output - base - values.sum(-1), method=found.method, forwards=found.forwards
    )
