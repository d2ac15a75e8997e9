"""Samples of a finished epoch that are to be explained, and the model that gave their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.sending import sent
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.samples.kinds import Kind, kind_of
from lightning_posttrain.samples.reservoir import Chosen

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Samples of a finished epoch, and what gave their scores.

    Args:
        module: the model.
        evaluation: the epoch.
        names: of the classes.
        chosen: the samples.
        fixed: whether they are the same in every epoch.
        of_classes: some of each class, or None.
        rows: of the largest batch that the model has seen.
    """

    module: LightningModule
    evaluation: Evaluation
    names: tuple[str, ...]
    chosen: Chosen
    fixed: bool
    of_classes: Chosen | None = None
    rows: int = 8

    def inputs(self, kind: Kind | None) -> Tensor:
        """Those of the samples, where and as the model takes them."""
        inputs, module = self.chosen.inputs, self.module
        tokens = (kind or kind_of(inputs)) == "tokens"
        inputs = inputs if tokens else inputs.to(dtype_of(module))
        return sent(inputs, module.device)


def dtype_of(module: LightningModule) -> torch.dtype:
    """Of the weights."""
    dtypes = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return next(dtypes, torch.float32)


def is_sharded(module: nn.Module) -> bool:
    """Whether a device has a part of each parameter alone: FSDP, tensor parallel, DeepSpeed stage 3."""
    marks = ("full_tensor", "_local_shard", "ds_id")
    return any(hasattr(parameter, mark) for parameter in module.parameters() for mark in marks)


def sharded(module: LightningModule, owner: str) -> bool:
    """Whether a forward on one rank would wait for the others, which is said."""
    found = is_sharded(module)
    if found:
        text = f"{owner} explains on the first rank, which does not hold the sharded module. Nothing is drawn."
        EvaluationStream.of(module.trainer).say_once(text)
    return found


def compare(sample_set: SampleSet, found: Tensor) -> None:
    """Raise where the samples' scores are not those that the step gave."""
    wanted = sample_set.chosen.scores
    assert wanted is not None
    real = wanted.isfinite()
    spread = wanted[real].max() - wanted[real].min() if real.any() else torch.zeros(())
    # a twentieth: the step may have run in a lower precision, in which near ties may fall otherwise
    same = found.shape == wanted.shape and bool(((found - wanted).abs() <= 0.05 * spread + 1e-3)[real].all())
    if not same or not _agree(found, wanted, 0.02 * float(spread) + 1e-3):
        raise ValueError(
            "module(inputs) gives other scores than the step did for the same samples. The step changes its "
            "inputs, the forward is random or wants another dtype, weights were swapped in between, as by a "
            "weight averaging that stands before this callback, or a TransformerEncoder's outputs for padding, "
            "which are zeros in evaluation alone, go into the scores"
        )


def compare_calls(found: Tensor, again: Tensor) -> None:
    """Raise where the first samples have other scores in another batch, beyond a rounding.

    Judged by how far the scores of each class spread over the samples, which is what there is to explain.

    Args:
        found: scores of all samples ``(K, C)``.
        again: of the first of them, without the others ``(k, C)``.
    """
    real = found.isfinite()
    low, high = found.masked_fill(~real, torch.inf).amin(0), found.masked_fill(~real, -torch.inf).amax(0)
    spread = (high - low).nan_to_num(0.0).clamp(min=0)
    apart = (found[: len(again)] - again).abs().masked_fill(~real[: len(again)], 0.0).amax(0)
    room = 0.05 * spread + 1e-3 * max(1.0, float(found.masked_fill(~real, 0.0).abs().max()))
    worst = int((apart - room).argmax())
    if bool(apart[worst] > room[worst]):
        raise ValueError(
            f"module(inputs) gives other scores for the same samples in another batch: by up to {apart[worst]:.3g}, "
            f"where those of a class spread over {spread[worst]:.3g}. The forward is random, or the samples of a batch "
            "have a say in each other's scores, as in BatchNorm(track_running_stats=False)"
        )


def _agree(found: Tensor, wanted: Tensor, near: float) -> bool:
    """Whether what one gives as the largest of a row is, or is nearly, the largest of the other too."""
    top = wanted.gather(1, found.nan_to_num(-torch.inf).argmax(1, keepdim=True))[:, 0]
    return bool((top >= wanted.nan_to_num(-torch.inf).amax(1) - near).all())


def check_layer(module: LightningModule, layer: str | None) -> None:
    """Raise for a layer that is not there.

    Raises:
        ValueError: the module has none of that name.
    """
    if layer is not None and layer not in dict(module.named_modules()):
        names = ", ".join(name for name, _ in module.named_modules() if name)
        raise ValueError(f"`layer` is {layer!r}, wanted one of {names}.")
