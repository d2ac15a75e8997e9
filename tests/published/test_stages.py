"""Stages that are found equal those that timm's authors wrote down for each backbone, as ``features_only`` has them."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest
import torch

from lightning_posttrain.feature_maps.stages import find_stages
from lightning_posttrain.feature_maps.trace import trace

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

BACKBONES = {
    "resnet18": 64, "resnet50": 64, "resnext50_32x4d": 64, "regnetx_002": 64, "vgg11": 64, "vgg16": 64,
    "densenet121": 64, "efficientnet_b0": 64, "mobilenetv3_small_050": 64, "convnext_atto": 64,
    "swin_tiny_patch4_window7_224": 224,
}  # fmt: skip


def published(name: str) -> Any:
    """A package; in its own environment, where it is missing by mistake, its absence is a failure."""
    return import_module(name) if os.environ.get("PUBLISHED") else pytest.importorskip(name)


@pytest.mark.parametrize(("name", "side"), BACKBONES.items())
def test_stages_are_those_that_the_authors_of_a_backbone_wrote_down(name, side):
    timm = published("timm")
    net, x = timm.create_model(name).eval(), torch.rand(2, 3, side, side)
    found = find_stages(trace(net, lambda: net(x), rows=2, spatial=(side, side)))
    wanted = timm.create_model(name, features_only=True).feature_info
    assert [call.name for call in found] == wanted.module_name()
    assert [call.shape[0] for call in found] == wanted.channels()
    assert [side // call.shape[1] for call in found] == wanted.reduction()


def test_a_vision_transformer_has_blocks_at_even_depths():
    net, x = published("timm").create_model("vit_tiny_patch16_224").eval(), torch.rand(2, 3, 224, 224)
    found = find_stages(trace(net, lambda: net(x), rows=2, spatial=(224, 224)))
    assert [call.name for call in found] == [f"blocks.{depth}" for depth in (2, 5, 8, 11)]
    assert {call.shape for call in found} == {(192, 14, 14)}
