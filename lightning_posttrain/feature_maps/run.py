"""From chosen samples to the maps of each stage, on the first rank, followed over the epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution import FORWARD, to_maps
from lightning_posttrain.core.output.result import listed
from lightning_posttrain.feature_maps.followed import FollowedStage
from lightning_posttrain.feature_maps.functional import Moments
from lightning_posttrain.feature_maps.result import FeatureMapsResult, figures_of
from lightning_posttrain.feature_maps.stages import check_layers, find_stages
from lightning_posttrain.feature_maps.trace import Grid, hooked_parts, laid_out, outputs_of, trace
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.kinds import Kind, channel_dim, kind_of
from lightning_posttrain.samples.model_access import ModelAccess
from lightning_posttrain.samples.sample_set import SampleSet

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

FEW = 3
"""Samples of the forward by which stages are found: as few as tell the samples' dimension from others of one."""
CURE = "Pass forward_fn=lambda module, inputs: ... that calls the network, or leave the callback out."
NAME = "Those to draw can be named, as layers=['backbone.stage1', 'backbone.stage2']"


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of a layer: moments of all samples, and maps of those that are drawn ``(K, C, *grid)``."""

    moments: Moments
    drawn: Tensor


def named(layers: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of layers, each once.

    Raises:
        ValueError: they are no list of names.
    """
    if isinstance(layers, str) or (layers is not None and not len(layers)):
        raise ValueError(f"`layers` is {layers!r}, wanted a list of names, as ['model.layer1'].")
    return None if layers is None else tuple(dict.fromkeys(layers))


class FeatureMapsRun:
    """Works out feature maps of chosen samples.

    Args:
        layers: dotted names, or None to find one for each resolution.
        drawn: how many samples are drawn.
        access: how the module is asked.
        display: how inputs look.
    """

    def __init__(self, *, layers: tuple[str, ...] | None, drawn: int, access: ModelAccess, display: Inputs) -> None:
        self.layers = layers
        self.drawn = drawn
        self.access = access
        self.display = display
        self.forget()

    def forget(self) -> None:
        """A run begins."""
        self._unchecked = self.layers or ()
        self._found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._followed: dict[tuple[str, str], FollowedStage] = {}
        self.access.forget()

    def check(self, module: nn.Module) -> None:
        """Raise for a layer that is not there; once a run, after its first batch, which may have made some."""
        unchecked, self._unchecked = self._unchecked, ()
        check_layers(module, unchecked)

    def explain(self, sample_set: SampleSet | None, trainer: Trainer) -> FeatureMapsResult | None:
        """The maps of chosen samples; on other ranks the figures alone. All ranks together."""
        return self.access.explained(sample_set, trainer, self._explained, only_figures, cure=CURE)

    def _explained(self, sample_set: SampleSet) -> FeatureMapsResult:
        module, key, kind = sample_set.module, sample_set.evaluation.key, self.display.kind
        inputs = sample_set.inputs(kind)
        kind = kind or kind_of(inputs)
        assert kind is not None
        forward, spatial = self._forward(module), sides(inputs, kind)
        with self.access.session(module), torch.no_grad():
            names, remarks = self._stages(key, module, inputs, forward, spatial)
            seen, times = self._seen(sample_set, names, inputs, forward, spatial)
        parts, stages = dict(hooked_parts(module)), []
        for name in names:
            if name in seen:
                followed = self._followed.setdefault((key, name), FollowedStage(name, type(parts[name]).__name__))
                stages.append(followed.maps(seen[name].moments, seen[name].drawn))
        drawn = sample_set.chosen.inputs[: self.drawn]
        return FeatureMapsResult(
            kind, sample_set.chosen.index, tuple(stages), figures_of(tuple(stages)), _skipped(names, seen, times),
            (*remarks, *_repeated(times), *self._colors()), self.display.shown(drawn, kind).clone(),
            tuple(self.display.names or ()), self.display.words_of(drawn) if kind == "tokens" else (),
        )  # fmt: skip

    def _colors(self) -> tuple[str, ...]:
        return tuple(filter(None, [self.display.colors.rstrip(".")]))

    def _forward(self, module: LightningModule) -> Callable[[Tensor], Any]:
        """How a network is called: as said, as the module itself, or, where that has no forward, as its one network."""
        own = type(module).forward.__qualname__ != "LightningModule.forward"  # of either namespace
        if own or self.access.forward_fn is not None:
            return self.access.model(module)
        networks = [child for child in module.children() if next(child.parameters(), None) is not None]
        if len(networks) != 1:
            raise ValueError(f"the module has no `forward`, and {len(networks)} parts with parameters")
        return networks[0]

    def _stages(
        self, key: str, module: nn.Module, inputs: Tensor, forward: Callable[[Tensor], Any], spatial: Grid
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the layers, and what is to be said of how they were found, once a run."""
        if self.layers is not None:
            return self.layers, ()
        if key not in self._found:
            few = inputs[:FEW].clone()
            traced = trace(module, lambda: forward(few), rows=len(few), spatial=spatial)
            self.access.limit.spent += FORWARD * len(few)
            names = tuple(call.name for call in find_stages(traced))
            if not names:
                raise ValueError(
                    f"over inputs with sides {spatial} no part of the module gives maps, or it is a script, which "
                    "takes no hooks"
                )
            branches = f"{listed(traced.branches, 3)}: maps of several resolutions at a time. {NAME}"
            self._found[key] = names, (branches,) if traced.branches else ()
        return self._found[key]

    def _seen(
        self,
        sample_set: SampleSet,
        names: tuple[str, ...],
        inputs: Tensor,
        forward: Callable[[Tensor], Any],
        spatial: Grid,
    ) -> tuple[dict[str, Seen], Counter[str]]:
        """What was seen of each layer by one forward of all samples, and how often each was called in it."""
        pieces: list[dict[str, Seen]] = []
        counts: list[Counter[str]] = []

        def work(rows: Tensor) -> None:
            given: dict[str, Tensor] = {}
            times: Counter[str] = Counter()
            room = max(0, self.drawn - int(rows[0]))

            def take(name: str, output: Any) -> None:
                laid = laid_out(output, len(rows), spatial)
                if laid is not None:  # the next layer may change it in place
                    given[name] = to_maps(*laid).detach().clone()

            with outputs_of(sample_set.module, names, take, times=times):
                forward(inputs[rows.to(inputs.device)])
            pieces.append({name: Seen(Moments.of(maps), maps[:room].float().cpu()) for name, maps in given.items()})
            counts.append(times)

        with self.access.chunks(sample_set.rows, sample_set.module.trainer, seconds=None, limited=False) as chunks:
            chunks.run(len(inputs), work, cost=FORWARD)
        return _joined(pieces), counts[0]


def only_figures(figures: Mapping[str, float]) -> FeatureMapsResult:
    """What ranks but the first know."""
    return FeatureMapsResult("image", figures=figures)


def sides(inputs: Tensor, kind: Kind) -> Grid:
    """The sides of a sample of a batch, without channels."""
    dim = channel_dim(inputs.shape, kind)
    return tuple(size for place, size in enumerate(inputs.shape) if place not in (0, dim))


def _joined(pieces: Sequence[Mapping[str, Seen]]) -> dict[str, Seen]:
    found: dict[str, Seen] = dict(pieces[0])
    for piece in pieces[1:]:
        for name, seen in piece.items():
            before = found[name]
            drawn = torch.cat([before.drawn, seen.drawn])
            found[name] = replace(before, moments=before.moments + seen.moments, drawn=drawn)
    return found


def _skipped(names: Sequence[str], seen: Mapping[str, Seen], times: Mapping[str, int]) -> dict[str, str]:
    """Layers without maps, and why."""
    called = "what it gives has no row for each sample, or does not lie on a grid over the input"
    never = "the forward does not call it, or it is a script, which takes no hooks"
    return {name: called if times[name] else never for name in names if name not in seen}


def _repeated(times: Mapping[str, int]) -> tuple[str, ...]:
    often = ((name, count) for name, count in times.items() if count > 1)
    return tuple(f"{name} is called {count} times, and its last call is shown" for name, count in often)
