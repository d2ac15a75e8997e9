"""What is measured of a method by its maps of other inputs, and of other weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution import Method, OutOfTimeError, Problem, map_of, wanted
from lightning_posttrain.saliency.functional.faithfulness import changed_a_little, max_sensitivity, relative_change
from lightning_posttrain.saliency.functional.maps import rank_correlation

SHUFFLING = 32
"""Rows, about, whose passes take as long as to shuffle the weights."""


class MethodMeasures:
    """Measures of some methods; of a map that comes from none of them there is none.

    What maps are compared with takes no more passes than the methods begin with, and what one pass gives is shared.

    Args:
        problem: a few samples.
        methods: by which they are explained.
    """

    def __init__(self, problem: Problem, methods: Sequence[Method]) -> None:
        self._problem = problem
        self._methods = methods
        self._coarse = {method.name: method.coarse() for method in methods}
        self._nearby: list[Problem] = []

    def max_sensitivity(self, name: str, _map: Tensor) -> float | None:
        """How much a method's maps change with a tiny change of the inputs."""
        method = self._coarse.get(name)
        if method is None:
            return None
        if not method.by_row:
            return float(max_sensitivity(lambda inputs: self._near(method, inputs), self._problem.inputs).nanmean())
        before, *after = torch.split(map_of(method, self._around).flatten(1), len(self._problem))
        return float(relative_change(before, torch.stack(after)).nanmean())

    def _near(self, method: Method, inputs: Tensor) -> Tensor:
        """The maps of changed inputs, whose pass is shared by all methods."""
        known = next((near for near in self._nearby if torch.equal(near.inputs, inputs)), None)
        if known is None:
            known = wanted(self._methods, replace(self._problem, inputs=inputs))
            self._nearby.append(known)
        return map_of(method, known)

    @cached_property
    def _around(self) -> Problem:
        """The samples and those near them as one problem, so that they go through the model at once."""
        problem, size = self._problem, len(self._problem)
        inputs = torch.cat([problem.inputs[None], changed_a_little(problem.inputs)])
        baseline = problem.baseline.expand_as(inputs).flatten(0, 1)

        def score(rows: Tensor, which: Tensor) -> Tensor:
            return problem.score(rows, which % size)

        return wanted(self._methods, replace(problem, score=score, inputs=inputs.flatten(0, 1), baseline=baseline))

    def randomised_weights(self, name: str, map_: Tensor) -> float | None:
        """How much a method's maps are those of a model with shuffled weights."""
        if self._problem.module is None or name not in self._coarse:
            return None
        other = self._others[name]
        if isinstance(other, OutOfTimeError):
            raise other
        return float(rank_correlation(map_.abs(), other).nanmean())

    @cached_property
    def _others(self) -> dict[str, Tensor | OutOfTimeError]:
        """The magnitudes of maps of other weights, on the CPU."""
        assert self._problem.module is not None
        self._problem.chunks.check(SHUFFLING)
        self._problem.chunks.spend(SHUFFLING)
        with shuffled_weights(self._problem.module, self._problem.seed):
            other = wanted(self._methods, self._problem)
            found = {name: _tried(method, other) for name, method in self._coarse.items()}
        maps = {name: map_.abs().float() for name, map_ in found.items() if isinstance(map_, Tensor)}
        sent = torch.stack(list(maps.values())).cpu() if maps else ()
        return {**found, **dict(zip(maps, sent, strict=True))}


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
    generators: dict[torch.device, torch.Generator] = {}
    kept = [(part._parameters, dict(part._parameters)) for part in module.modules()]
    made: dict[int, nn.Parameter] = {}
    try:
        for store, parameters in kept:
            for name, parameter in parameters.items():
                if parameter is not None and id(parameter) not in made:
                    device = parameter.device
                    generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
                    made[id(parameter)] = _shuffled(parameter, generator)
                if parameter is not None:
                    store[name] = made[id(parameter)]
        yield
    finally:
        for store, parameters in kept:
            store.update(parameters)


def _shuffled(parameter: nn.Parameter, generator: torch.Generator) -> nn.Parameter:
    # where the weights are, as to send the order of millions takes longer than to draw it
    size, dtype = parameter.numel(), torch.int32 if parameter.numel() < 1 << 31 else torch.int64
    order = torch.randperm(size, generator=generator, device=parameter.device, dtype=dtype)
    return nn.Parameter(parameter.detach().flatten().index_select(0, order).view_as(parameter), requires_grad=False)
