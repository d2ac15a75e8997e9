"""Whether each method's maps say what the model does, beside maps that know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.attribution import (
    FORWARD,
    Attributed,
    Method,
    OutOfTimeError,
    Problem,
    attribute,
)
from lightning_posttrain.saliency.functional.faithfulness import hiding, unforetold
from lightning_posttrain.saliency.functional.insertion import area, insertion_deletion
from lightning_posttrain.saliency.functional.maps import edges, energy_share, pointing_game
from lightning_posttrain.saliency.method_measures import MethodMeasures
from lightning_posttrain.saliency.result import Faithfulness
from lightning_posttrain.samples.kinds import Kind

Measures = dict[str, float]
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
    changes = MethodMeasures(problem, methods)
    steps: dict[str, Callable[[str, Tensor], float | None]] = {
        "completeness_gap": lambda name, _map: _gap(found.gaps.get(name)),
        **_measures(problem, objects, {method.name for method in methods if method.signed}, maps),
        "max_sensitivity": changes.max_sensitivity,
        "randomised_weights": changes.randomised_weights,
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
    problem: Problem, objects: Tensor | None, signed: set[str], maps: Mapping[str, Tensor]
) -> dict[str, Callable[[str, Tensor], float | None]]:
    """Measures of each of several maps ``(K, *spatial)``; the model is asked for all of them at once."""
    chunks, size, several = problem.chunks, len(problem), len(maps)
    placed = problem.beside(torch.stack(list(maps.values())))
    how: Any = {"channel_dim": problem.channel_dim, "chunk": chunks.size}

    def score(rows: Tensor, which: Tensor) -> Tensor:
        chunks.check()
        return problem.score(rows, which % size)

    @cache
    def curves() -> dict[str, list[float]]:
        change, rows = problem.change, 2 * STEPS * several * size
        chunks.check(rows, FORWARD)
        # where the output falls, what speaks against it comes in first
        way = change.sign()
        turned = way.view(-1, *(1,) * (placed.ndim - 2))
        ranked = torch.cat([placed[n] * turned if name in signed else placed[n] for n, name in enumerate(maps)])
        inputs, baseline = (x.repeat(several, *(1,) * (x.ndim - 1)) for x in (problem.inputs, problem.baseline))
        pair = insertion_deletion(score, inputs, ranked, baseline=baseline, steps=STEPS, **how)
        chunks.spend(rows, FORWARD)
        empty, whole = pair.insertion[:, 0].view(several, size), change.abs().mean()
        found = [((area(curve).view(several, size) - empty) * way).mean(1) / whole for curve in pair]
        return dict(zip(maps, torch.stack(found, 1).tolist(), strict=True))

    @cache
    def infidelities() -> dict[str, float]:
        rows = (DRAWS + 1) * size
        chunks.check(rows, FORWARD)
        hides = hiding(score, problem.inputs, problem.spatial, baseline=problem.baseline, draws=DRAWS, **how)
        chunks.spend(rows, FORWARD)
        found = torch.stack([unforetold(map_, *hides).nanmean() for map_ in placed])
        return dict(zip(maps, found.tolist(), strict=True))

    measures: dict[str, Callable[[str, Tensor], float | None]] = {
        "insertion": lambda name, _map: curves()[name][0],
        "deletion": lambda name, _map: curves()[name][1],
        "infidelity": lambda name, _map: infidelities()[name],
    }
    if objects is not None:
        inside = objects.expand(size, *problem.spatial)
        measures["pointing_game"] = lambda _name, map_: float(pointing_game(map_, inside).float().mean())
        measures["energy"] = lambda _name, map_: float(energy_share(map_, inside).nanmean())
    return measures


def _gap(gaps: tuple[float, ...] | None) -> float | None:
    return None if gaps is None else sum(gaps) / len(gaps)
