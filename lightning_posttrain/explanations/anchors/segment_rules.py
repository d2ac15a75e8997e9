"""Anchors of samples that are taken apart: superpixels, segments, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.bounds import Bar, Judged
from lightning_posttrain.explanations.anchors.kl_lucb import Effort, searched_rule
from lightning_posttrain.explanations.anchors.pool_search import PoolSearch
from lightning_posttrain.explanations.anchors.predicted_classes import class_of
from lightning_posttrain.explanations.perturbation.cooperative_game import Game
from lightning_posttrain.explanations.perturbation.perturbation_pool import Pool
from lightning_posttrain.explanations.result.rule import Condition, Rule


def anchor_of_parts(  # noqa: PLR0913 - all by keyword
    game: Game,
    pool: Pool,
    *,
    names: Sequence[Sequence[str]] = (),
    threshold: float = 0.95,
    tolerance: float = 0.05,
    confidence: float = 0.95,
    exact: bool = False,
    max_size: int = 6,
    beam: int | None = None,
    seed: int = 0,
) -> tuple[Rule, ...]:
    """For each sample, the fewest parts which, if there, keep the model at its class whatever others are hidden.

    Read: where these parts are there, and each other one is there or hidden by the toss of a coin, the model gives the
    same class in at least ``lower`` of the cases (Ribeiro, Singh and Guestrin, 2018, doi:10.1609/aaai.v32i1.11491).

    One pool of masks scores all rules, of whatever size; only those that look good are asked for with new masks, 128
    each, which ``precision``, ``lower`` and ``rows`` are from. Where the pool has all masks there are, its shares are
    exact, and nothing more is asked for. No rule at all, where the class stays whatever is hidden, is tried first.

    ``coverage`` is :math:`2^{-k}` for ``k`` parts: the share of masks that have them. It says how short a rule is, not
    how many other samples it holds for.

    Args:
        game: the samples, their parts, and the model. Its outputs are those of classes, the largest of which counts.
        pool: masks with even odds for each part, and what the model gives for them.
        names: of the parts of each sample ``(K, M)``, or one list for all samples ``(1, M)``; else ``part 0`` and so
            on.
        threshold: wanted precision.
        tolerance: how much less it may be in truth.
        confidence: how sure that has to be, for each rule.
        exact: then go on by the paper's KL-LUCB, which asks for more masks where the pool leaves it open which rules
            are best; 1,000 confirm the rule.
        max_size: parts at most.
        beam: rules of a size that grow. Default: 10, or 4 where ``exact``.
        seed: of random numbers, from a generator of its own.

    Raises:
        ValueError: game, pool and names do not go together, an output is NaN, or an argument is out of its range.
        OutOfTimeError: the time of the game's chunks is over.

    Example:
        >>> x = torch.tensor([[3.0, 1.0, 1.0]])
        >>> model = lambda rows: torch.stack([torch.full((len(rows),), 2.5), rows.sum(1)], 1)
        >>> game = Game(model, x, torch.arange(3)[None], 3, torch.zeros(1, 1, 3))
        >>> masks = torch.rand(512, 3, generator=torch.Generator().manual_seed(0)) < 0.5
        >>> print(anchor_of_parts(game, Pool(masks, game.outputs(masks)), names=[["sky", "dog", "cat"]])[0])
        sky
    """
    bar = Bar(threshold, tolerance, confidence)
    _check(game, pool, names=names, max_size=max_size, beam=beam)
    labels = class_of(game.outputs(torch.ones(1, game.count, dtype=torch.bool)))[:, 0]
    whole = pool.complete
    present = _even(pool.present.cpu(), whole=whole)
    agree = (class_of(pool.outputs) == labels[:, None])[:, len(pool) - len(present) :]
    generator = torch.Generator().manual_seed(seed)
    effort = Effort(beam=beam or (4 if exact else 10), max_size=max_size)
    rules = []
    for k, label in enumerate(labels.tolist()):
        draw = _Draw(_only(game, k), label, generator)
        search = PoolSearch(present, agree[k], whole=whole, draw=draw, bar=bar)
        if exact and not whole:
            chosen, judged = _searched_on(search, draw, bar, effort)
        else:
            chosen, judged = search.find(beam=effort.beam, max_size=max_size)
        named = names[k % len(names)] if names else [f"part {number}" for number in range(game.count)]
        rule = _rule([Condition(part, named[part]) for part in chosen.nonzero()[:, 0].tolist()], label, judged)
        rules.append(replace(rule, base=float(agree[k].double().mean()), forwards=1 + len(pool) + draw.rows))
    return tuple(rules)


def _searched_on(search: PoolSearch, draw: _Draw, bar: Bar, effort: Effort) -> tuple[Tensor, Judged]:
    """A rule by KL-LUCB, which begins with the counts of the pool."""
    parts = search.parts
    chosen, judged, _ = searched_rule(
        draw,
        torch.zeros(parts, parts, dtype=torch.bool),
        coverage=lambda rules: 0.5 ** rules.sum(1).double(),
        counted=search.counts,
        bar=bar,
        effort=effort,
    )
    return chosen, judged


def _rule(conditions: list[Condition], label: int, judged: Judged) -> Rule:
    return Rule(
        tuple(conditions),
        predicted=label,
        precision=judged.precision,
        lower=judged.lower,
        rows=judged.rows,
        coverage=2.0 ** -len(conditions),
        base=0.0,
        valid=judged.valid,
        observed=False,
        of_parts=True,
        draws=judged.draws,
    )


class _Draw:
    """New masks for one sample: the parts of a rule are there, each other one by the toss of a coin."""

    def __init__(self, game: Game, label: int, generator: torch.Generator) -> None:
        self.rows = 0
        self._game, self._label, self._generator = game, label, generator

    def __call__(self, rules: Tensor, number: int) -> Tensor:
        """How many of so many masks for each rule ``(A, M)`` get the class ``(A,)``."""
        masks = torch.rand(len(rules), number, rules.shape[1], generator=self._generator) < 0.5
        masks |= rules[:, None]
        self.rows += len(rules) * number
        return (class_of(self._game.outputs(masks.flatten(0, 1))[0]) == self._label).view(len(rules), number).sum(1)


def _only(game: Game, k: int) -> Game:
    """The game of one of the samples."""
    parts, hidden = game.parts[k % len(game.parts)], game.hidden[k % len(game.hidden)]
    return replace(game, inputs=game.inputs[k : k + 1], parts=parts[None], hidden=hidden[None])


def _even(present: Tensor, *, whole: bool) -> Tensor:
    """Masks that are a fair sample, without a first one that has all parts on purpose."""
    return present if whole or not present[0].all() else present[1:]


def _check(game: Game, pool: Pool, *, names: Sequence[Sequence[str]], max_size: int, beam: int | None) -> None:
    rows, parts = pool.present.shape
    if parts != game.count or pool.outputs.shape[:2] != (len(game), rows):
        raise ValueError(
            f"`pool` has masks {(rows, parts)} and outputs {tuple(pool.outputs.shape)}, wanted (n, {game.count}) and "
            f"({len(game)}, n, C) for this game. Draw it from the same game."
        )
    if names and (len(names) not in (1, len(game)) or any(len(each) != game.count for each in names)):
        raise ValueError(
            f"`names` has {[len(each) for each in names]}, wanted {game.count} names for each of {len(game)} samples, "
            "or one list of them for all."
        )
    for name, value in (("max_size", max_size), ("beam", 1 if beam is None else beam)):
        if value < 1:
            raise ValueError(f"`{name}` is {value}, wanted 1 or more. Leave it out for the default.")
