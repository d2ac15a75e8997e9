"""Results are ordinary tensors, whatever mode Lightning was in."""

from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from lightning_posttrain import (
    CheckpointEnsemble,
    HardExampleMining,
    HardExampleSampler,
    ModelExport,
    ModelProfile,
    TorchMetrics,
)
from tests import toys
from tests.test_contract import CALLBACKS, OTHERS, made


def tensors_in(value, seen=None):
    """All tensors at any depth of a result, those that it has worked out and kept too."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item, seen)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from tensors_in(item, seen)
    elif is_dataclass(value):
        yield from tensors_in({part.name: getattr(value, part.name) for part in fields(value)}, seen)
        yield from tensors_in(vars(value), seen)
        kept = [name for kind in type(value).__mro__ for name, one in vars(kind).items() if isinstance(one, property)]
        yield from tensors_in([getattr(value, name) for name in kept], seen)


def every_callback(how):
    kinds = [
        kind
        for kind in (*CALLBACKS, *OTHERS)
        if kind not in (TorchMetrics, HardExampleMining, CheckpointEnsemble, ModelExport, ModelProfile)
    ]
    ensemble = CheckpointEnsemble(members=[toys.Net("dict"), toys.Net("dict")], on_error="raise")
    mining = [HardExampleMining()] if how == "fit" else []
    accuracy = TorchMetrics(MulticlassAccuracy(toys.CLASSES, average=None), on_error="raise")
    return [*(made(kind, on_error="raise") for kind in kinds), *mining, ensemble, accuracy]


def run(how, callbacks):
    data, module = toys.images(48), toys.Net("dict")
    trainer, loader = toys.quiet(callbacks), toys.loader(data)
    if how == "fit":
        trainer.fit(module, toys.loader(data, sampler=HardExampleSampler(data)), loader)
    else:
        getattr(trainer, how)(module, loader, verbose=False)


def use(tensor):
    """As a program may: change it, and work out gradients with it."""
    if tensor.is_sparse:
        tensor = tensor.values()
    if tensor.numel():
        tensor.add_(1) if tensor.dtype != torch.bool else tensor.logical_not_()
    if tensor.is_floating_point():
        weight = torch.ones((), requires_grad=True)
        (tensor * weight).sum().backward()


@pytest.mark.parametrize("how", ["fit", "validate", "test"])
def test_every_tensor_of_every_result_can_be_changed_and_trained_with(how):
    callbacks = every_callback(how)
    run(how, callbacks)
    with_tensors = []
    for callback in callbacks:
        found = list(tensors_in(callback.results))
        with_tensors += [type(callback).__name__] if found else []
        for tensor in found:
            assert not tensor.is_inference(), type(callback).__name__
            use(tensor)
    wanted = {"ClassificationMetrics", "ConfusionMatrix", "ScoreCurves", "Calibration", "DecisionThresholds"}
    wanted |= {"HardExamples", "SaliencyMaps", "FeatureMaps", "Explanations", "LabelErrors", "CheckpointEnsemble"}
    assert wanted <= set(with_tensors)
