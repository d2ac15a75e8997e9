"""Other people's modules through a Trainer: what a profile counts is what torch counts on the same call.

Runs in the environment of `make published`; elsewhere what is not installed is skipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from lightning_posttrain import ModelProfile
from tests.published import test_modules as modules
from tests.published import tutorials

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@dataclass
class Costs:
    """A module, and what is known of its cost.

    Args:
        case: the module with its loaders.
        forward: what a step of validation asks of the network, by hand.
        rows: samples of the first batch of the test.
        divides: whether latency can be had of other numbers of rows.
        unused: what the name of each parameter begins with that nothing uses, all of which are said.
    """

    case: modules.Case
    forward: Callable[[Any, Any], Any]
    rows: int = 16
    divides: bool = True
    unused: str = ""


def text() -> Costs:
    return Costs(modules.text_classifier(), lambda module, batch: module(**batch))


def tokens() -> Costs:
    module = tutorials.GLUETransformer(modules.bert("BertForTokenClassification", num_labels=3))
    loaders = modules.split(
        modules.texts(), collate=lambda samples: modules.padded(samples, lambda ids, y: ids % 3)
    )  # fmt: skip
    return Costs(modules.Case(module, loaders, modules.rows_of), lambda module, batch: module(**batch))


def timm() -> Costs:
    return Costs(modules.image_classifier(), lambda module, batch: module(batch[0]))


def torchgeo_classes() -> Costs:
    return Costs(modules.geo_classifier(), lambda module, batch: module(batch["image"]))


def torchgeo_segmentation() -> Costs:
    return Costs(modules.geo_segmentation(), lambda module, batch: module(batch["image"]), 15)


def smp() -> Costs:
    package = modules.published("segmentation_models_pytorch")
    net = package.create_model(
        "unet", encoder_name="resnet18", encoder_weights=None, in_channels=3, classes=3, encoder_depth=3,
        decoder_channels=(32, 16, 8),
    )  # fmt: skip
    loss = package.losses.DiceLoss("multiclass", from_logits=True)
    module = tutorials.PetModel(net, loss, package.metrics.get_stats, "multiclass", 3)
    data = [{"image": image, "mask": mask} for image, mask in zip(*modules.scenes(32, 3), strict=True)]
    case = modules.Case(module, modules.split(data, 8), modules.rows_of)
    # the encoder keeps the layers below the depth that was asked for
    return Costs(case, lambda module, batch: module.forward(batch["image"]), 8, unused="model.encoder.layer")


def uncertainty() -> Costs:
    """The first step of a test calls the network twice, once to count its FLOPs."""
    module = modules.routine(
        "ClassificationRoutine", modules.small_cnn(3), num_classes=3, loss=nn.CrossEntropyLoss()
    )  # fmt: skip
    case = modules.Case(module, modules.split(TensorDataset(*modules.images())), modules.rows_of)
    return Costs(case, lambda module, batch: module.model(batch[0]))


def graphs() -> Costs:
    loader = modules.published("torch_geometric.loader").DataLoader
    data = [one.clone() for one in modules.graphs(num_graphs=96, task="graph")]
    module = tutorials.GraphLevelGNN(modules.Pooled(3), 3)
    case = modules.Case(module, modules.split(data, loader=loader), modules.rows_of)
    return Costs(case, lambda module, batch: module.forward(batch), divides=False)


def edges() -> Costs:
    nets, loader = (modules.published(f"torch_geometric.{part}") for part in ("nn", "loader"))
    module = tutorials.GIN(nets.GIN(8, 16, 2), nets.global_add_pool, nn.Linear(16, 3), 3)
    data = [one.clone() for one in modules.graphs(num_graphs=96, task="graph")]
    case = modules.Case(module, modules.split(data, loader=loader.DataLoader), modules.rows_of)
    return Costs(case, lambda module, batch: module(batch.x, batch.edge_index, batch.batch), divides=False)


def chemprop() -> Costs:
    nets = modules.published("chemprop.nn")
    predictor = nets.MulticlassClassificationFFN(3, input_dim=32, hidden_dim=32)
    module, loaders = modules.mpnn(predictor, [nets.MulticlassMCCMetric()], lambda y: [y])
    return Costs(
        modules.Case(module, loaders, modules.rows_of), lambda module, batch: module(*batch[:3]), divides=False
    )  # fmt: skip


def lightly() -> Costs:
    classifiers = modules.published("lightly.utils.benchmarking")

    class LinearClassifier(classifiers.LinearClassifier):  # it has no test of its own
        def test_step(self, batch, batch_idx):
            self.validation_step(batch, batch_idx)

    backbone = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten())
    module = LinearClassifier(backbone, 16, feature_dim=8 * 49, num_classes=6, topk=(1, 5))
    data = [(image, label, "") for image, label in zip(*modules.images(), strict=True)]
    return Costs(modules.Case(module, modules.split(data), modules.rows_of), lambda module, batch: module(batch[0]))


def counted(costs: Costs) -> int:
    """FLOPs of the first batch of the test, by torch, of attention taken apart."""
    module, batch = costs.case.module, next(iter(costs.case.loaders[2]))
    module.eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        costs.forward(module, batch)
    return counter.get_total_flops()


EVERY = [
    text, tokens, timm, torchgeo_classes, torchgeo_segmentation, smp, uncertainty, graphs, edges, chemprop, lightly,
]  # fmt: skip


@pytest.mark.parametrize("made", EVERY, ids=lambda made: made.__name__)
def test_a_profile_counts_what_torch_counts(made):
    costs = made()
    profile = ModelProfile(batch_sizes=[1, 4], seconds=0.02, on_error="raise")
    trainer = modules.trainer_of(costs.case.module, [profile], 1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(costs.case.module, *costs.case.loaders[:2])
        trainer.test(costs.case.module, costs.case.loaders[2], verbose=False)
    assert [one for one in said if "used by nothing" in str(one.message)] == [] or costs.unused
    found = profile.results["test"]
    assert found.flops == pytest.approx(counted(costs) / costs.rows)
    for one in profile.results.values():
        rows, module = one.architecture.rows, costs.case.module
        assert sum(row.flops for row in rows) == pytest.approx(one.flops * one.architecture.batch)
        assert sum(row.parameters for row in rows) == sum(each.numel() for each in module.parameters())
        assert one.architecture.uncounted == {}
        assert one.reasons == {}
        assert all(name.startswith(costs.unused) for name in one.count.unused)
        assert bool(one.count.unused) == bool(costs.unused)
        assert {"MetricCollection", "CrossEntropyLoss"}.isdisjoint(one.architecture.kinds)
    assert set(found.latency) == ({1, 4} if costs.divides else {costs.rows})
