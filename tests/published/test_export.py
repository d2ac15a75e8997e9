"""Networks of transformers and timm, of tiny configurations, answer from ONNX and `.pt2` as they do in torch."""

from __future__ import annotations

import os
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from lightning_posttrain.calibration import TemperatureScaling
from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import CallSource
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.program import Deployed, entry_of, suspicions, traced

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
THREE = Decision("multiclass", ("a", "b", "c"), confidence=0.35)


def published(name):
    """A package; in its own environment, where it is missing by mistake, its absence is a failure."""
    return import_module(name) if os.environ.get("PUBLISHED") else pytest.importorskip(name)


def bert():
    transformers = published("transformers")
    config = transformers.BertConfig(
        vocab_size=99, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    return transformers.BertForSequenceClassification(config)


def vit():
    transformers = published("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
        num_labels=3,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


class Wrapped(nn.Module):
    """As a LightningModule holds a network."""

    def __init__(self, network):
        super().__init__()
        self.network = network


def words(rows, length):
    mask = torch.ones(rows, length, dtype=torch.int64)
    mask[::2, length // 2 :] = 0
    return {"input_ids": torch.randint(0, 99, (rows, length)), "attention_mask": mask}


def images(rows, channels=3, size=16):
    return {"pixel_values": torch.randn(rows, channels, size, size)}


def call_of(given, target, path):
    return CallAgain("network", CallSource("network", 0, 1, path, "as it is"), ((), {**given, **target}))


def assert_answers_alike(entry, examples, batches, folder):
    found = traced(Deployed(entry, THREE, calibrator=TemperatureScaling(1.5, "multiclass")), examples)
    assert suspicions(found.program) == []
    for name in ("onnx", "pt2"):
        FORMATS[name].write(found, folder, "{}")
        run = FORMATS[name].opened(folder, found.signature)
        for batch in batches:
            with torch.no_grad():
                probabilities, decision = found.deployed(*batch.values())
            answer = run(found.signature.of({key: value.numpy() for key, value in batch.items()}))
            np.testing.assert_allclose(answer.probabilities, probabilities, atol=1e-5, rtol=0)
            np.testing.assert_array_equal(answer.decision, decision)
    return found


def test_a_text_classifier_takes_ids_and_masks_of_any_length(tmp_path):
    module = Wrapped(bert())
    given, labels = words(6, 9), {"labels": torch.tensor([0, 1, 2, 0, 1, 2])}
    entry = entry_of(module, call_of(given, labels, "['logits']"), list(labels.values()))
    assert list(entry.slots) == ["input_ids", "attention_mask"]
    batches = [words(rows, length) for rows, length in ((1, 9), (2, 4), (7, 20), (64, 9))]
    found = assert_answers_alike(entry, [words(6, 9), words(5, 12)], batches, tmp_path)
    assert found.signature.inputs[0].words == "int64 (N, ?)"


def test_an_image_classifier_of_transformers(tmp_path):
    module = Wrapped(vit())
    labels = {"labels": torch.tensor([0, 1, 2, 0, 1, 2])}
    entry = entry_of(module, call_of(images(6), labels, "['logits']"), list(labels.values()))
    assert list(entry.slots) == ["pixel_values"]
    assert_answers_alike(entry, [images(6)], [images(rows) for rows in (1, 2, 7, 64)], tmp_path)


def test_a_resnet_of_timm(tmp_path):
    network = published("timm").create_model("resnet10t", num_classes=3)
    network.train()(torch.randn(16, 3, 32, 32))
    rows = torch.randn(64, 3, 32, 32)
    entry = entry_of(Wrapped(network), CallAgain("network", CallSource("network", 0, 1, "", "as it is"), ((rows,), {})))
    assert list(entry.slots) == ["x"]
    assert_answers_alike(entry, [{"x": rows}], [{"x": rows[:count]} for count in (1, 2, 7, 64)], tmp_path)
