"""Saliency maps of a few fixed samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.attribution import METHODS, attribute, find_cam_layer, gradient_session
from lightning_posttrain.attribution.samples import FixedSamples
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation
from lightning_posttrain.fields import describe
from lightning_posttrain.forward import muted
from lightning_posttrain.functional.images import is_image, to_display
from lightning_posttrain.results import Saliency
from lightning_posttrain.stream import EvaluationStream
from lightning_posttrain.tasks import to_logits


@final
class SaliencyMaps(StreamCallback):
    """Draws, after every validation and test, why the model predicts what it predicts, for a few fixed images.

    A row of the grid is a sample: its input, one map for each method, and one map laid over the input. The
    samples are chosen by class from the first validation, as its batches go by. The module is left as it was:
    weights, gradients, flags, buffers and random numbers.

    Args:
        methods: of ``"saliency"``, ``"input_x_gradient"``, ``"integrated_gradients"``, ``"grad_cam"``.
        samples: how many, at most.
        layer: dotted name of the layer for ``"grad_cam"``. Default: the last one that gives maps of at least
            4 × 4, told from a forward.
        forward_fn: from the module and inputs to scores, where the step does more than ``module(inputs)``.
        seed: of the random numbers inside the explanation, the same every epoch.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=SaliencyMaps(methods=["saliency"], samples=4), logger=False)
    """

    tag = "saliency"

    def __init__(
        self,
        *,
        methods: Sequence[str] = ("saliency", "input_x_gradient", "integrated_gradients", "grad_cam"),
        samples: int = 8,
        layer: str | None = None,
        forward_fn: Callable[[Any, Any], Any] | None = None,
        seed: int = 0,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        unknown = [method for method in methods if method not in METHODS]
        if unknown or not methods:
            raise ValueError(f"`methods` has {unknown or 'none'}, wanted some of {', '.join(METHODS)}.")
        if samples < 1:
            raise ValueError(f"`samples` is {samples}, wanted at least 1.")
        self.methods = tuple(methods)
        self.samples = samples
        self.layer = layer
        self.forward_fn = forward_fn
        self.seed = seed
        self._chosen: dict[str, FixedSamples] = {}
        self._explained: set[str] = set()
        self._refused: set[str] = set()
        self._unfit = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the stream; samples are chosen anew in each run."""
        super().setup(trainer, pl_module, stage)
        self._chosen, self._explained, self._refused, self._unfit = {}, set(), set(), False

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a layer that is not there; say once that the inputs are no images."""
        super().check(module, batch)
        if self.layer is not None and self.layer not in dict(module.named_modules()):
            names = ", ".join(name for name, _ in module.named_modules() if name)
            raise ValueError(f"`layer` is {self.layer!r}, wanted one of {names}.")
        reason = _why_not(batch)
        if reason and not self._unfit:
            self._unfit = True
            warnings.warn(f"SaliencyMaps draws nothing: {reason}", stacklevel=2)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Choose samples."""
        self._unfit = self._unfit or len(batch.inputs) != len(batch.target)
        if not self._unfit:
            chosen = self._chosen.setdefault(key, FixedSamples(self.samples, batch.num_classes))
            chosen.offer(batch.inputs, batch.scores, batch.target, batch.counted, batch.index)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Saliency | None:
        """Explain the samples, on the first rank."""
        chosen = self._chosen.get(evaluation.key)
        if chosen is not None:
            chosen.close()
        if (
            self._unfit
            or evaluation.key in self._refused
            or chosen is None
            or not len(chosen)
            or self._sharded(module)
            or not module.trainer.is_global_zero
        ):
            return None
        cure = "Pass forward_fn=lambda module, inputs: ... that gives the scores, other methods, or layer=..."
        explained: list[Saliency] = []
        with self.guarded(module.trainer, "explain the samples", cure):
            with gradient_session(module, self.seed), muted(module):
                scorer = self._scorer(module, evaluation)
                if evaluation.key not in self._explained:
                    self._compare(evaluation.key, scorer, chosen, module)
                explained.append(self._explain(module, scorer, chosen, names))
            self._explained.add(evaluation.key)
        return explained[0] if explained else None

    def _sharded(self, module: LightningModule) -> bool:
        """Whether a forward on one rank would wait for the others: FSDP, tensor parallel, DeepSpeed stage 3."""
        marks = ("full_tensor", "_local_shard", "ds_id")
        sharded = any(hasattr(parameter, mark) for parameter in module.parameters() for mark in marks)
        if sharded:
            text = "SaliencyMaps explains on the first rank, which does not hold the sharded module. Nothing is drawn."
            EvaluationStream.of(module.trainer).say_once(text)
        return sharded

    def _scorer(self, module: LightningModule, evaluation: Evaluation) -> Callable[[Tensor], Tensor]:
        forward_fn, reading = self.forward_fn, self.reading
        if forward_fn is None:
            return evaluation.scorer
        return lambda inputs: to_logits(forward_fn(module, inputs), reading.task, reading.scores)

    def _compare(
        self, key: str, scorer: Callable[[Tensor], Tensor], chosen: FixedSamples, module: LightningModule
    ) -> None:
        """Raise, and explain nothing in this run, where the samples' scores are not those that the step gave."""
        with torch.no_grad():
            found = scorer(_on_device(chosen, module)).cpu()
        wanted = chosen.scores
        spread = wanted[wanted.isfinite()].max() - wanted[wanted.isfinite()].min()
        # a tenth: the step may have run in a lower precision
        if not bool(((found - wanted).abs() <= 0.1 * spread + 1e-3)[wanted.isfinite()].all()):
            self._refused.add(key)
            raise ValueError(
                "module(inputs) gives other scores than the step did for the same samples. The step changes its "
                "inputs, the forward is random or wants another dtype, or weights were swapped in between, as by a "
                "weight averaging that stands before this callback"
            )

    def _explain(
        self,
        module: LightningModule,
        scorer: Callable[[Tensor], Tensor],
        chosen: FixedSamples,
        names: tuple[str, ...],
    ) -> Saliency:
        inputs = _on_device(chosen, module)
        layer = self.layer
        if layer is None and any(METHODS[method].needs_layer for method in self.methods):
            layer = find_cam_layer(module, lambda: scorer(inputs))
        with torch.no_grad():
            probability, predicted = scorer(inputs).softmax(dim=1).max(dim=1)
        where = None if layer is None else module.get_submodule(layer)
        maps, skipped = attribute(self.methods, scorer, inputs, predicted, where)
        return Saliency(
            images=to_display(chosen.inputs),
            maps=maps,
            titles={name: METHODS[name].title for name in maps},
            signed=frozenset(name for name in maps if METHODS[name].signed),
            target=chosen.target,
            predicted=predicted.cpu(),
            probability=probability.float().cpu(),
            index=chosen.index,
            class_names=names,
            layer=layer,
            skipped=skipped,
        )

    def show(self, result: Saliency, title: str) -> Iterator[Tagged]:
        """The grid, and who is in it."""
        from lightning_posttrain.render.saliency import saliency_image, saliency_table

        yield Tagged(self.tag, saliency_image(result, title=title))
        yield Tagged(f"{self.tag}_samples", saliency_table(result))


def _why_not(batch: EvalBatch) -> str:
    """Why the samples of a batch cannot be drawn, with the cure; nothing where they can."""
    inputs = batch.inputs
    if not (isinstance(inputs, Tensor) and is_image(tuple(inputs.shape))):
        found = "not found in the batch" if inputs is None else describe(inputs)
        return (
            f"it wants images, (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, or (N, H, W), and the inputs are "
            f"{found}. Pass inputs_fn=lambda batch: ... to say where images are, or leave SaliencyMaps out."
        )
    if batch.multilabel or len(inputs) != len(batch.target):
        return "it explains one class for each image, and here are labels or a class for each pixel. Leave it out."
    return ""


def _on_device(chosen: FixedSamples, module: LightningModule) -> Tensor:
    dtypes = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return chosen.inputs.to(module.device, next(dtypes, torch.float32))
