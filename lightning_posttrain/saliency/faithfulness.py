"""Whether each method's maps say what the model does, beside maps that know nothing of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution import (
    FORWARD,
    Attributed,
    Method,
    OutOfTimeError,
    Problem,
    attribute,
    map_of,
    wanted,
)
from lightning_posttrain.saliency.functional.faithfulness import hiding, max_sensitivity, unforetold
from lightning_posttrain.saliency.functional.insertion import area, insertion_deletion
from lightning_posttrain.saliency.functional.maps import edges, energy_share, pointing_game, rank_correlation
from lightning_posttrain.saliency.result import Faithfulness
from lightning_posttrain.samples.kinds import Kind

Measures = dict[str, float]
SHUFFLING = 32
"""Rows, about, whose passes take as long as to shuffle the weights."""
STEPS, DRAWS = 16, 32
"""Of insertion and deletion, and of what is hidden for the infidelity."""


def least_rows(samples: int, maps: int) -> int:
    """Rows that insertion and deletion of all maps take, a random one and that of edges among them."""
    return 2 * STEPS * samples * (maps + 2)


def faithfulness_of(
    problem: Problem,
    methods: Sequence[Method],
    *,
    kind: Kind,
    shown: Tensor,
    objects: Tensor | None = None,
    known: Attributed | None = None,
) -> Faithfulness:
    """Measure each method on the samples of a problem; inside a ``gradient_session``.

    Args:
        problem: a few samples.
        methods: to be measured.
        kind: what the samples are.
        shown: them for the eye, for the map of their edges.
        objects: where what should matter is ``(K, *spatial)`` or ``(*spatial)``, or None.
        known: the maps of these samples by some of the methods, which alone are measured; None where there are none.
    """
    # an error is said where the map is drawn
    found = known or attribute(methods, problem, failed=lambda _name, _error: None)
    skipped = dict(found.skipped)
    maps: dict[str, Tensor] = dict(found.maps)
    maps["random"] = torch.rand(len(problem), *problem.spatial, generator=torch.Generator().manual_seed(problem.seed))
    if kind == "image":
        maps["edge"] = edges(shown)
    rows: dict[str, Measures] = {name: {} for name in maps}
    steps: dict[str, Callable[[str, Tensor], float | None]] = {
        "completeness_gap": lambda name, _map: _gap(found.gaps.get(name)),
        **_measures(problem, objects, {method.name for method in methods if method.signed}, len(maps)),
        **_of_changes(problem, methods),
    }
    # one measure of all maps after the other: where not all can be had, methods still compare
    for measure, work in steps.items():
        for name, map_ in maps.items():
            _measure(rows[name], skipped, (name, measure), partial(work, name, map_))
    titles = {**{method.name: method.title for method in methods}, "random": "random", "edge": "edges"}
    return Faithfulness(rows, titles, len(problem), skipped)


def _measure(row: Measures, skipped: dict[str, str], what: tuple[str, str], work: Callable[[], float | None]) -> None:
    try:
        value = work()
    except OutOfTimeError as reason:
        skipped[", ".join(what)] = str(reason)
        return
    if value is not None:
        row[what[1]] = value


def _measures(
    problem: Problem, objects: Tensor | None, signed: set[str], count: int
) -> dict[str, Callable[[str, Tensor], float | None]]:
    """Measures of a map ``(K, *spatial)`` of some name, which is one of ``count``."""
    device, chunks, size = problem.inputs.device, problem.chunks, problem.chunks.size
    curves: dict[str, tuple[float, float]] = {}
    hides: list[tuple[Tensor, Tensor]] = []
    how: Any = {"baseline": problem.baseline, "channel_dim": problem.channel_dim, "chunk": size}

    def both(name: str, map_: Tensor) -> tuple[float, float]:
        if name not in curves:
            change, each = problem.change, 2 * STEPS * len(problem)
            chunks.check(each * (count - len(curves)), FORWARD)
            chunks.spend(each, FORWARD)
            # where the output falls, what speaks against it comes in first
            way = change.sign()
            ranked = map_.to(device) * way.view(-1, *(1,) * (map_.ndim - 1)) if name in signed else map_.to(device)
            pair = insertion_deletion(problem.score, problem.inputs, ranked, steps=STEPS, **how)
            empty, whole = pair.insertion[:, 0], change.abs().mean()
            curves[name] = tuple(float(((area(curve) - empty) * way).mean() / whole) for curve in pair)  # type: ignore[assignment]
        return curves[name]

    def infidelity(_name: str, map_: Tensor) -> float:
        if not hides:
            rows = (DRAWS + 1) * len(problem)
            chunks.check(rows, FORWARD)
            chunks.spend(rows, FORWARD)
            hides.append(hiding(problem.score, problem.inputs, problem.spatial, draws=DRAWS, **how))
        return float(unforetold(map_.to(device), *hides[0]).nanmean())

    measures: dict[str, Callable[[str, Tensor], float | None]] = {
        "insertion": lambda name, map_: both(name, map_)[0],
        "deletion": lambda name, map_: both(name, map_)[1],
        "infidelity": infidelity,
    }
    if objects is not None:
        inside = objects.expand(len(problem), *problem.spatial)
        measures["pointing_game"] = lambda _name, map_: float(pointing_game(map_, inside).float().mean())
        measures["energy"] = lambda _name, map_: float(energy_share(map_, inside).nanmean())
    return measures


def _gap(gaps: tuple[float, ...] | None) -> float | None:
    return None if gaps is None else sum(gaps) / len(gaps)


def _of_changes(problem: Problem, methods: Sequence[Method]) -> dict[str, Callable[[str, Tensor], float | None]]:
    """Measures of a method by its maps of other inputs, and of other weights; of no method there is none.

    What they are compared with takes no more passes than the methods begin with, and what one pass gives is shared.
    """
    coarse = {method.name: method.coarse() for method in methods}
    nearby: list[Problem] = []

    def steady(name: str, _map: Tensor) -> float | None:
        number = itertools.count()

        def maps(inputs: Tensor) -> Tensor:
            if (place := next(number)) == len(nearby):
                nearby.append(wanted(methods, replace(problem, inputs=inputs)))
            return map_of(coarse[name], nearby[place])

        return float(max_sensitivity(maps, problem.inputs).nanmean()) if name in coarse else None

    @cache
    def others() -> dict[str, Tensor | OutOfTimeError]:
        assert problem.module is not None
        problem.chunks.check(SHUFFLING)
        problem.chunks.spend(SHUFFLING)
        with shuffled_weights(problem.module, problem.seed):
            other = wanted(methods, problem)
            return {name: _tried(method, other) for name, method in coarse.items()}

    def randomised(name: str, map_: Tensor) -> float | None:
        if problem.module is None or name not in coarse:
            return None
        other = others()[name]
        if isinstance(other, OutOfTimeError):
            raise other
        return float(rank_correlation(map_.abs(), other.abs().float().cpu()).nanmean())

    return {"max_sensitivity": steady, "randomised_weights": randomised}


def _tried(method: Method, problem: Problem) -> Tensor | OutOfTimeError:
    try:
        return map_of(method, problem)
    except OutOfTimeError as reason:
        return reason


@contextmanager
def shuffled_weights(module: nn.Module, seed: int) -> Iterator[None]:
    """Other parameters in the place of those of a module, with the same values in another order.

    Example:
        >>> layer = nn.Linear(8, 8)
        >>> before = layer.weight
        >>> with shuffled_weights(layer, 0):
        ...     changed = not torch.equal(layer.weight, before)
        >>> changed, layer.weight is before
        (True, True)
    """
    generator = torch.Generator().manual_seed(seed)
    kept = [(part._parameters, dict(part._parameters)) for part in module.modules()]
    made: dict[int, nn.Parameter] = {}
    try:
        for store, parameters in kept:
            for name, parameter in parameters.items():
                if parameter is not None:
                    store[name] = made.setdefault(id(parameter), _shuffled(parameter, generator))
        yield
    finally:
        for store, parameters in kept:
            store.update(parameters)


def _shuffled(parameter: nn.Parameter, generator: torch.Generator) -> nn.Parameter:
    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
    return nn.Parameter(parameter.detach().flatten()[order].view_as(parameter), requires_grad=False)
