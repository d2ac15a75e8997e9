"""From a model and a few samples to their maps, as a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution import (
    AttentionRules,
    Attributed,
    Baseline,
    Chunks,
    Method,
    NotApplicableError,
    OutOfTimeError,
    Problem,
    as_method,
    attribute,
    embedded,
    find_cam_layer,
    nothing_of,
    score_of_embeddings,
    wanted,
)
from lightning_posttrain.core.capture.sending import sent
from lightning_posttrain.saliency.result import Saliency
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.kinds import Kind, channel_dim, kind_of
from lightning_posttrain.samples.result import Sample
from lightning_posttrain.samples.sample_set import SampleSet
from lightning_posttrain.samples.targets import Targets

SEARCH = 16
"""Passes, about, that it takes to find the layer for class activation maps and whether there is attention."""


@dataclass(eq=False)
class Explainer:
    """Explains samples by several methods, and remembers the layer that it found.

    Args:
        methods: names or methods; None for those that suit the kind of input and the model.
        layer: dotted name of the layer for class activation maps, or None to look for it.
        baseline: what stands for "nothing there": a number, ``"mean"`` of each channel, ``"blur"``, or a function.
        display: how samples are shown.
        shared_scale: whether all maps of a method are drawn on one scale.
        seed: of the random numbers of methods.
    """

    methods: tuple[Method, ...] | None
    layer: str | None
    baseline: float | Baseline | Callable[[Tensor], Tensor]
    display: Inputs
    shared_scale: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A run begins, maybe of another model."""
        self._chosen: dict[str, tuple[str | None, tuple[Method, ...]]] = {}

    def problem(self, module: nn.Module, targets: Targets, inputs: Tensor, chunks: Chunks) -> tuple[Problem, Kind]:
        """What is explained: ``inputs (K, ...)`` are those of the chosen samples, where the model takes them."""
        kind = self.display.kind or kind_of(inputs) or "tabular"
        inputs = inputs[sent(targets.rows, inputs.device)]
        score = targets.score
        dim = channel_dim(inputs.shape, kind)
        if kind == "tokens" and not inputs.is_floating_point():
            found = embedded(lambda x: targets.score(x, torch.arange(len(x), device=x.device)), inputs)
            inputs, score, dim = found.rows, score_of_embeddings(score, found), 2
        return Problem(
            score, inputs, nothing_of(inputs, dim, self.baseline), dim, module, chunks=chunks, seed=self.seed
        ), kind

    def choose(self, key: str, problem: Problem, kind: Kind) -> tuple[Problem, tuple[Method, ...]]:
        """The layer and the methods of a loader's samples, looked for once."""
        if key not in self._chosen:
            methods = self.methods
            wanted = methods is None or any("layer" in m.wants or hasattr(m, "method") for m in methods)
            problem.chunks.spend(SEARCH if wanted else 0)
            layer = self.layer if self.layer is not None or not wanted else find_cam_layer(problem)
            if methods is None:
                methods = tuple(map(as_method, _usual(kind, problem, layer)))
            self._chosen[key] = (layer, methods)
        layer, methods = self._chosen[key]
        return replace(problem, layer=layer), methods

    def result(
        self,
        problem: Problem,
        methods: tuple[Method, ...],
        found: Attributed,
        *,
        kind: Kind,
        targets: Targets,
        inputs: Tensor,
    ) -> Saliency:
        """The maps as a result; ``inputs`` as the loader gave them."""
        reads_layer = any("layer" in method.wants and method.name in found.maps for method in methods)
        note = {"memory": problem.chunks.note} if problem.chunks.note else {}
        return Saliency(
            kind=kind,
            shown=self.display.shown(inputs, kind),
            maps=found.maps,
            titles={method.name: method.title for method in methods},
            signed=frozenset(method.name for method in methods if method.signed),
            samples=_with_baseline(targets.samples, problem) if found.gaps else targets.samples,
            names=tuple(map(str, self.display.names or ())),
            words=self.display.words_of(inputs) if kind == "tokens" else (),
            layer=problem.layer if reads_layer else None,
            skipped={**found.skipped, **note},
            refused=found.refused,
            gaps=found.gaps,
            shared_scale=self.shared_scale,
            colors=self.display.colors,
            by_channel=found.by_channel if kind == "series" else {},
        )


def _with_baseline(samples: tuple[Sample, ...], problem: Problem) -> tuple[Sample, ...]:
    try:
        pairs = zip(samples, problem.change.tolist(), strict=True)
    except OutOfTimeError:
        return samples
    return tuple(replace(sample, baseline=sample.value - change) for sample, change in pairs)


def _usual(kind: Kind, problem: Problem, layer: str | None) -> list[str]:
    """What is cheap and says something for a kind of input and a model."""
    paths = ["input_x_gradient", "integrated_gradients"]
    if kind == "tabular":
        return paths
    # the gradient at a word's vector says little of what its absence would do
    plain = ["integrated_gradients", "occlusion"] if kind == "tokens" else ["saliency", *paths]
    if _attends(problem):
        return [*plain, "gradient_rollout"]
    return plain if layer is None else [*plain, "hirescam"]


def _attends(problem: Problem) -> bool:
    """Whether all layers of attention lie over the input."""
    mode = AttentionRules()
    with torch.no_grad(), mode:
        problem.score(problem.inputs[:1].clone(), problem.all[:1])
    if not mode.seen:
        return False
    one = replace(problem, inputs=problem.inputs[:1], baseline=problem.baseline[:1], chunks=Chunks(1))
    try:
        as_method("gradient_rollout").attribute(one)
    except NotApplicableError:
        return False
    return True


def explain(
    explainer: Explainer,
    sample_set: SampleSet,
    *,
    targets: Targets,
    inputs: Tensor,
    chunks: Chunks,
    failed: Callable[[str, Exception], None] | None = None,
    quick: bool = False,
    known: Saliency | None = None,
) -> tuple[Saliency, Problem, tuple[Method, ...]]:
    """Maps of the chosen samples, and the problem that they answer.

    Args:
        explainer: the methods and what they share.
        sample_set: the samples, and the model.
        targets: what of the model's output is explained.
        inputs: of the samples, where the model takes them.
        chunks: how many rows at a time.
        failed: told of an error in a method, which is then left out.
        quick: only the methods that one pass gives, where there are such.
        known: maps of the same samples and weights, which are taken over.
    """
    problem, kind = explainer.problem(sample_set.module, targets, inputs, chunks)
    problem, methods = explainer.choose(sample_set.evaluation.key, problem, kind)
    methods = tuple(method for method in methods if method.one_pass and quick) or methods
    there = (
        Attributed()
        if known is None
        else Attributed(dict(known.maps), dict(known.gaps), {**known.refused}, by_channel=dict(known.by_channel))
    )
    missing = [method for method in methods if method.name not in there.maps]
    problem = wanted(missing, problem)
    found = _joined(methods, there, attribute(missing, problem, failed=failed) if missing else Attributed())
    given = sample_set.chosen.inputs[targets.rows]
    return explainer.result(problem, methods, found, kind=kind, targets=targets, inputs=given), problem, methods


def _joined(methods: Sequence[Method], *parts: Attributed) -> Attributed:
    """Maps of several methods in the order of these, from whichever part has them."""
    found = Attributed()
    for method in methods:
        for part in parts:
            for each in fields(Attributed):
                if method.name in (kept := getattr(part, each.name)):
                    getattr(found, each.name)[method.name] = kept[method.name]
    return found
