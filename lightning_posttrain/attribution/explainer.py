"""From a model and a few samples to their maps, as a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution.attribute import Attributed, as_method, attribute
from lightning_posttrain.attribution.baselines import Baseline, nothing_of
from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.layers import find_cam_layer
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import NotApplicableError, Problem
from lightning_posttrain.attribution.rules.attention import AttentionRules
from lightning_posttrain.attribution.samples import Chosen
from lightning_posttrain.attribution.targets import Targets
from lightning_posttrain.attribution.words import embedded, score_of_embeddings
from lightning_posttrain.functional.images import channel_dim, kind_of, to_display
from lightning_posttrain.results import Kind, Saliency, Sample


@dataclass(frozen=True, eq=False)
class Display:
    """How samples are shown.

    Args:
        kind: what they are. Default: told from the shape.
        mean, std: of each channel, or column of a table: a normalisation to undo.
        bands: channels shown as red, green and blue.
        names: of features or channels.
        words: a name for each token, or a function from a token to its name.
        display_fn: from inputs ``(K, ...)`` to images ``(K, H, W, 3)`` in 0 to 1.
        shared_scale: whether all maps of a method are drawn on one scale.
    """

    kind: Kind | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    bands: Sequence[int] | None = None
    names: Sequence[str] | None = None
    words: Sequence[str] | Callable[[int], str] | None = None
    display_fn: Callable[[Tensor], Tensor] | None = None
    shared_scale: bool = False

    def __post_init__(self) -> None:
        if self.names is not None:  # may be an array, which has no truth
            object.__setattr__(self, "names", tuple(map(str, self.names)))

    def shown(self, inputs: Tensor, kind: Kind) -> Tensor:
        """The samples as a result holds them."""
        dim = channel_dim(inputs.shape, kind)
        if kind in ("image", "spectrogram"):
            if self.display_fn is not None:
                return self.display_fn(inputs).float().clamp(0, 1)
            return to_display(inputs, dim, mean=self.mean, std=self.std, bands=self.bands)
        if kind == "series":
            return inputs.float().unsqueeze(1) if dim is None else inputs.float().movedim(dim, 1)
        if kind == "tokens":
            return inputs
        scale = self.scale(inputs.shape[1])
        return inputs.float() if scale is None else inputs.float() * scale[1].float() + scale[0].float()

    def scale(self, columns: int) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation of each column of a table, each ``(F,)`` float64, where there are such."""
        if self.mean is None and self.std is None:
            return None
        mean, std = (torch.as_tensor(0.0 if x is None else x, dtype=torch.float64) for x in (self.mean, self.std))
        return mean.expand(columns), (std if self.std is not None else torch.ones(())).double().expand(columns)

    def check(self, inputs: Tensor) -> None:
        """Raise where there are not as many names as features or channels.

        Raises:
            ValueError: they differ.
        """
        kind = self.kind or kind_of(inputs)
        if self.names is not None and kind in ("tabular", "series"):
            dim = 1 if kind == "tabular" else channel_dim(inputs.shape, kind)
            count = 1 if dim is None else inputs.shape[dim]
            if len(self.names) != count:
                what = "features" if kind == "tabular" else "channels"
                raise ValueError(f"`names` has {len(self.names)} names, and inputs have {count} {what}.")

    def words_of(self, tokens: Tensor) -> tuple[tuple[str, ...], ...]:
        """The name of each token."""
        given = self.words
        if given is not None and not callable(given) and int(tokens.max()) >= len(given):
            raise ValueError(f"`words` has {len(given)} names, and there is token {int(tokens.max())}.")
        name: Callable[[int], str] = str if given is None else given if callable(given) else given.__getitem__
        return tuple(tuple(str(name(token)) for token in row) for row in tokens.tolist())


@dataclass(eq=False)
class Explainer:
    """Explains samples by several methods, and remembers the layer that it found.

    Args:
        methods: names or methods; None for those that suit the kind of input and the model.
        layer: dotted name of the layer for class activation maps, or None to look for it.
        baseline: what stands for "nothing there": a number, ``"mean"`` of each channel, ``"blur"``, or a function.
        display: how samples are shown.
        seed: of the random numbers of methods.
    """

    methods: tuple[Method, ...] | None
    layer: str | None
    baseline: float | Baseline | Callable[[Tensor], Tensor]
    display: Display
    seed: int = 0

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A run begins, maybe of another model."""
        self._chosen: dict[str, tuple[str | None, tuple[Method, ...]]] = {}

    def problem(self, module: nn.Module, targets: Targets, inputs: Tensor, chunks: Chunks) -> tuple[Problem, Kind]:
        """What is explained: ``inputs (K, ...)`` are those of the chosen samples, where the model takes them."""
        kind = self.display.kind or kind_of(inputs) or "tabular"
        inputs = inputs[targets.rows.to(inputs.device)]
        score = targets.score
        dim = channel_dim(inputs.shape, kind)
        if kind == "tokens" and not inputs.is_floating_point():
            found = embedded(lambda x: targets.score(x, targets.rows.to(x.device)), inputs)
            inputs, score, dim = found.rows, score_of_embeddings(score, found), 2
        return Problem(
            score, inputs, nothing_of(inputs, dim, self.baseline), dim, module, chunks=chunks, seed=self.seed
        ), kind

    def choose(self, key: str, problem: Problem, kind: Kind) -> tuple[Problem, tuple[Method, ...]]:
        """The layer and the methods of a loader's samples, looked for once."""
        if key not in self._chosen:
            methods = self.methods
            wanted = methods is None or any("layer" in m.wants or hasattr(m, "method") for m in methods)
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
            shared_scale=self.display.shared_scale,
        )


def _with_baseline(samples: tuple[Sample, ...], problem: Problem) -> tuple[Sample, ...]:
    pairs = zip(samples, problem.change.tolist(), strict=True)
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
    one = replace(problem, inputs=problem.inputs[:1], baseline=problem.baseline[:1])
    try:
        as_method("gradient_rollout").attribute(one)
    except NotApplicableError:
        return False
    return True


def explain(
    explainer: Explainer,
    module: nn.Module,
    chosen: Chosen,
    *,
    targets: Targets,
    inputs: Tensor,
    chunks: Chunks,
    key: str = "",
    failed: Callable[[str, Exception], None] | None = None,
) -> tuple[Saliency, Problem, tuple[Method, ...]]:
    """Maps of the chosen samples, and the problem that they answer."""
    problem, kind = explainer.problem(module, targets, inputs, chunks)
    problem, methods = explainer.choose(key, problem, kind)
    found = attribute(methods, problem, failed=failed)
    given = chosen.inputs[targets.rows]
    return explainer.result(problem, methods, found, kind=kind, targets=targets, inputs=given), problem, methods
