"""Networks of transformers and timm, of tiny configurations, answer from ONNX and `.pt2` as they do in torch."""

from __future__ import annotations

import os
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from lightning_posttrain import Calibration, ClassificationMetrics, ModelExport
from lightning_posttrain.calibration import TemperatureScaling
from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import CallSource
from lightning_posttrain.export import load
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.program import Deployed, entry_of, suspicions, traced
from tests.published import test_modules

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


def of_text(batch):
    return {name: batch[name].numpy() for name in ("input_ids", "token_type_ids", "attention_mask")}


def of_pair(batch):
    return batch[0].numpy()


def of_scene(batch):
    return batch["image"].numpy()


def whole_scenes():
    return test_modules.geo_segmentation(void=None)


@pytest.mark.parametrize(
    ("made", "sent"),
    [
        (test_modules.text_classifier, of_text),
        (test_modules.image_classifier, of_pair),
        (test_modules.geo_classifier, of_scene),
        (whole_scenes, of_scene),
    ],
)
def test_what_is_exported_of_a_published_module_answers_as_it_was_tested(made, sent, tmp_path):
    case = made()
    train, val, test = case.loaders
    export = ModelExport(formats=["pt2"], weights="last", folder=str(tmp_path / "out"), on_error="raise")
    trainer = test_modules.trainer_of(case.module, [Calibration(), export], epochs=3)
    trainer.fit(case.module, train, val)
    trainer.test(case.module, test, verbose=False)
    assert export.results["test"]["pt2"].flips == 0
    model, labels = load(tmp_path / "out", format="pt2"), case.task == "multilabel"
    temperature = ((model.decision.calibration or {}).get("parameters") or {"temperature": 1.0})["temperature"]
    case.module.eval()
    for batch in test:
        with torch.no_grad():
            scores = case.scored(case.module, batch, "test")[0]
        answers, calibrated = model(sent(batch)), scores / temperature
        probabilities = np.moveaxis(answers.probabilities, 1, -1).reshape(scores.shape)
        np.testing.assert_allclose(probabilities, calibrated.sigmoid() if labels else calibrated.softmax(1), atol=1e-5)
        wanted = (scores >= 0).long() if labels else scores.argmax(1)
        np.testing.assert_array_equal(answers.decision.reshape(wanted.shape), wanted)


def test_graphs_are_not_exported_and_cost_the_run_nothing(tmp_path):
    nets = published("chemprop.nn")
    predictor = nets.MulticlassClassificationFFN(3, input_dim=32, hidden_dim=32)
    module, loaders = test_modules.mpnn(predictor, [nets.MulticlassMCCMetric()], lambda y: [y])
    export, metrics = ModelExport(formats=["pt2"], folder=str(tmp_path / "out")), ClassificationMetrics()
    trainer = test_modules.trainer_of(module, [export, metrics], epochs=1)
    with pytest.warns(
        UserWarning, match="takes no tensor with a row for each. A network of tensors is exported, not one"
    ):
        trainer.fit(module, *loaders[:2])
    assert (export.results, list(metrics.results)) == ({}, ["val"])
