"""LIME: a linear model around each sample (Ribeiro, Singh and Guestrin, 2016, arXiv:1602.04938)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.explanations.functional.local_linear import (
    LocalLinear,
    local_linear,
    nearness_of_parts,
    nearness_of_rows,
)
from lightning_posttrain.explanations.perturbation.arguments import game_of, positions
from lightning_posttrain.explanations.perturbation.bins import Bins, bins_of
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward, Game, ask, pick_of
from lightning_posttrain.explanations.perturbation.perturbation_pool import Pool, draw_pool
from lightning_posttrain.explanations.perturbation.segments import Parts, placed
from lightning_posttrain.explanations.result.interpretation import LimeWeights


def lime(  # noqa: PLR0913 - all but three by keyword
    forward: Forward,
    inputs: Tensor,
    background: Tensor,
    *,
    parts: Tensor | Parts | None = None,
    target: int | Tensor | None = None,
    samples: int | None = None,
    width: float | None = None,
    ridge: float = 1.0,
    keep: int | None = None,
    bins: int = 4,
    categorical: Sequence[int | str] = (),
    names: Sequence[str] | None = None,
    seed: int = 0,
    chunk: int = 1024,
) -> LimeWeights:
    """Explain outputs by linear models that hold nearby, as the ``lime`` package does.

    With ``parts``, of images and the like, parts are hidden at random, and a weight is what a part's presence adds.
    Without, inputs are rows of a table: columns of ``background`` are drawn each by itself, and a weight is what it
    adds that a column's value is in the same bin as the sample's.

    Args:
        forward: from rows ``(n, ...)`` to outputs ``(n, C)`` or ``(n,)``; in eval mode.
        inputs: the samples ``(K, ...)``.
        background: what hidden parts are replaced by ``(B, ...)``, with a mean over ``B``, or as ``hidden_of`` gives it
            ``(K, B, ...)``; or rows of a table ``(N, F)``.
        parts: the part that each value belongs to, whole numbers from 0: ``(K, ...)`` or ``(1, ...)``, as of ``Game``;
            or what ``parts_of`` gives.
        target: the explained output: one for all, one for each sample ``(K,)``; by default the largest of each.
        samples: perturbed samples. Default: 1,000 with parts, 5,000 of rows.
        width: of the kernel. Default: 0.25 with parts, 0.75 √F of rows.
        ridge: penalty of the fit.
        keep: parts with a weight, those that matter most; None for all.
        bins: of a column, between quantiles of ``background``.
        categorical: columns whose values are categories, each a bin; by position, or by name.
        names: of the columns.
        seed: of what is drawn, from a generator of its own.
        chunk: rows at a time.

    Raises:
        ValueError: an argument is none.

    Example:
        >>> rows = torch.linspace(-1, 1, 100)[:, None].expand(100, 2)
        >>> found = lime(lambda x: (x[:, 0] > 0).float(), torch.tensor([[2.0, 2.0]]), rows, bins=2)
        >>> found.values.round(decimals=1).tolist(), round(found.fit.item(), 2)
        ([[1.0, 0.0]], 1.0)
    """
    chunks = Chunks(chunk)
    if parts is None:
        check_rows(inputs, background)
        near = neighbourhood(forward, background, samples or 5000, seed, chunks=chunks)
        output = ask(forward, inputs, chunks)
        table = bins_of(background, bins, positions(categorical, names))
        return lime_of_rows(near, table, inputs, output, pick_of(output, target), width=width, ridge=ridge, keep=keep)
    game = game_of(forward, inputs, background, parts, chunks=chunks)
    own = Parts(game.parts, game.count, (("",) * game.count,))
    which, options = own.each(len(inputs)), {"width": width, "ridge": ridge, "keep": keep}
    if all(len(each) == game.count for each in which):
        return _of_game(game, target, samples or 1000, seed, options=options)
    found = []
    for k, each in enumerate(which):  # what a sample has not, as padding, is no part of it
        hidden = game.hidden[k % len(game.hidden)][None]
        part = own.only(k, each)
        one = Game(forward, inputs[k : k + 1], part.index, part.count, hidden, chunks)
        goal = target if not isinstance(target, Tensor) or target.ndim == 0 else target[k : k + 1]
        found.append(_of_game(one, goal, samples or 1000, seed, options=options))
    return joined(found, which, game.count)


def _of_game(
    game: Game, target: int | Tensor | None, samples: int, seed: int, *, options: Mapping[str, Any]
) -> LimeWeights:
    pool = draw_pool(game, samples, seed)
    return lime_of_pool(pool, pick_of(pool.outputs[:, 0], target), **options)


def joined(found: Sequence[LimeWeights], which: Sequence[Tensor], count: int) -> LimeWeights:
    """Weights of samples that have only some of the parts, as of all ``count`` parts."""
    names = ("intercept", "local", "output", "fit", "spread")
    return LimeWeights(
        values=placed(which, [one.values for one in found], count),
        errors=placed(which, [one.errors for one in found], count),
        forwards=sum(one.forwards for one in found),
        **{name: torch.cat([getattr(one, name) for one in found]) for name in names},
    )


def lime_of_pool(
    pool: Pool, pick: Tensor, *, width: float | None = None, ridge: float = 1.0, keep: int | None = None
) -> LimeWeights:
    """Linear models from perturbed samples whose outputs are known.

    Args:
        pool: the outputs.
        pick: weight of each output in what is explained ``(K, C)``.
        width: of the kernel, by default 0.25.
        ridge: penalty of the fit.
        keep: parts with a weight; None for all.
    """
    outputs = (pool.outputs.double() * pick.to(pool.outputs.device)[:, None].double()).sum(-1).T
    near = nearness_of_parts(pool.present, 0.25 if width is None else width)
    fixed = len(pool) if pool.complete else 1
    present = pool.present.to(outputs)
    found = local_linear(present, outputs, near.to(outputs), ridge=ridge, keep=keep, fixed=fixed)
    return _result([found], found.intercept + found.weights.sum(1), outputs[0], len(pool) * pool.outputs.shape[0])


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Rows whose columns were drawn each by itself ``(n, F)``, and what the model gives for them ``(n, C)``."""

    rows: Tensor
    outputs: Tensor


def neighbourhood(forward: Forward, background: Tensor, samples: int, seed: int, *, chunks: Chunks) -> Neighbourhood:
    """Draw rows around all samples at once: ``lime``'s draw of a bin by its frequency does not depend on the sample.

    Raises:
        OutOfTimeError: the time is over.
    """
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(background), (samples, background.shape[1]), generator=generator)
    rows = background.gather(0, which.to(background.device))
    return Neighbourhood(rows, ask(forward, rows, chunks))


def lime_of_rows(
    near: Neighbourhood,
    table: Bins,
    inputs: Tensor,
    output: Tensor,
    pick: Tensor,
    *,
    width: float | None = None,
    ridge: float = 1.0,
    keep: int | None = None,
) -> LimeWeights:
    """Linear models of which columns are like each sample's.

    Args:
        near: rows and their outputs.
        table: the bins.
        inputs: the samples ``(K, F)``.
        output: what the model gives for them ``(K, C)``.
        pick: weight of each output in what is explained ``(K, C)``.
        width: of the kernel, by default 0.75 √F.
        ridge: penalty of the fit.
        keep: columns with a weight; None for all.
    """
    found, own = [], (output.double() * pick.to(output).double()).sum(1)
    for k, sample in enumerate(inputs):
        alike = torch.cat([torch.ones_like(near.rows[:1], dtype=torch.bool), table.alike(near.rows, sample)])
        values = torch.cat([own[k : k + 1], near.outputs.double() @ pick[k].to(near.outputs).double()])
        nearness = nearness_of_rows(alike, width)
        found.append(local_linear(alike.double(), values[:, None], nearness, ridge=ridge, keep=keep))
    local = torch.cat([one.intercept + one.weights.sum(1) for one in found])
    return _result(found, local, own, len(near.rows) + len(inputs))


def _result(found: Sequence[LocalLinear], local: Tensor, output: Tensor, forwards: int) -> LimeWeights:
    joined = {name: torch.cat([getattr(one, name) for one in found]).cpu() for name in
              ("weights", "errors", "intercept", "fit", "spread")}  # fmt: skip
    weights = joined.pop("weights")
    return LimeWeights(values=weights, local=local.cpu(), output=output.cpu(), forwards=forwards, **joined)


def check_rows(inputs: Tensor, background: Tensor) -> None:
    """Raise where samples are no rows of a table, or the background has other columns.

    Raises:
        ValueError: so it is.
    """
    if inputs.ndim != 2:
        raise ValueError(f"`inputs` are {tuple(inputs.shape)}, wanted rows (K, F). Pass `parts` to take others apart.")
    if background.ndim != 2 or background.shape[1] != inputs.shape[1] or not len(background):
        shape, columns = tuple(background.shape), inputs.shape[1]
        raise ValueError(f"`background` is {shape}, wanted rows (N, {columns}), at least one.")
