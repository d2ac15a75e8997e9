"""From a fit on real digits to answers in processes that know nothing of the module."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Calibration, ClassificationMetrics, DecisionThresholds, ModelExport
from lightning_posttrain.calibrators import TemperatureScaling
from tests import toys

pytestmark = pytest.mark.slow
SIZES = (1, 2, 7, 64)
ASK = """
import sys
import numpy as np
from lightning_posttrain.export import load
folder, format, rows, out = sys.argv[1:]
x, model, found = np.load(rows), load(folder, format=format), {}
for size in (1, 2, 7, 64):
    answers = [model(x[start : start + size]) for start in range(0, len(x), size)]
    found[f"p{size}"] = np.concatenate([each.probabilities for each in answers])
    found[f"d{size}"] = np.concatenate([each.decision for each in answers])
np.savez(out, torch="torch" in sys.modules, **found)
"""


class Convolutional(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.3), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 16, 10),
        )  # fmt: skip


class Recurrent(nn.Module):
    """Reads the eight rows of a picture."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(8, 32, num_layers=2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.rnn(x[:, 0])[0][:, -1])


class Attending(nn.Module):
    """A small ViT of sixteen patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, stride=2)
        self.places = nn.Parameter(torch.randn(1, 16, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.body(self.patches(x).flatten(2).transpose(1, 2) + self.places).mean(1))


class Digits(LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def loaders():
    digits = load_digits()
    images, target = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    parts = [TensorDataset(images[rows], target[rows]) for rows in torch.split(order, [900, 400, 497])]
    return [DataLoader(part, batch_size=64, shuffle=i == 0) for i, part in enumerate(parts)]


def asked_elsewhere(folder, kind, rows, tmp_path):
    """The answers of a fresh process, by batch size."""
    np.save(tmp_path / "rows.npy", rows)
    arguments = [str(folder), kind, str(tmp_path / "rows.npy"), str(tmp_path / f"{kind}.npz")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", ASK, *arguments], check=True, timeout=120)
    return np.load(tmp_path / f"{kind}.npz")


@pytest.mark.parametrize("network", [Convolutional, Recurrent, Attending])
def test_what_is_shipped_gives_the_answers_that_were_tested(network, tmp_path):
    torch.manual_seed(0)
    train, val, test = loaders()
    export, calibration = ModelExport(formats=["onnx", "pt2"], on_error="raise"), Calibration(on_error="raise")
    thresholds = DecisionThresholds(max_risk=0.01, on_error="raise")
    others = [ClassificationMetrics(), calibration, thresholds, export, ModelCheckpoint(monitor="val/loss")]
    trainer = toys.quiet(others, max_epochs=6, enable_checkpointing=True, logger=CSVLogger(tmp_path, name=""))
    module = Digits(network())
    trainer.fit(module, train, val)
    trainer.test(module, test, ckpt_path="best", verbose=False)

    images = test.dataset.tensors[0]
    with torch.no_grad():
        logits = module.eval()(images)  # the best weights, which the test has loaded
    temperature = calibration.calibrator.numbers().get("temperature", 1.0)
    probabilities = torch.softmax(logits / temperature, 1).numpy()
    sure = logits.double().softmax(1).amax(1) >= (thresholds.fitted or {}).get("confidence", 0.0)
    decision = torch.where(sure, logits.argmax(1), -1).numpy()

    folder = f"{trainer.log_dir}/posttrain/export"
    for kind in ("onnx", "pt2"):
        assert export.results["test"][kind].flips == 0
        assert export.results["test"][kind].rows == len(images)
        found = asked_elsewhere(folder, kind, images.numpy(), tmp_path)
        assert found["torch"] == (kind == "pt2")
        for size in SIZES:
            np.testing.assert_array_equal(found[f"d{size}"], decision)
            np.testing.assert_allclose(found[f"p{size}"], probabilities, atol=2e-6)
    with open(f"{folder}/manifest.json") as file:  # noqa: PTH123
        kept = json.load(file)["decision"]
    assert isinstance(calibration.calibrator, TemperatureScaling) == (kept["calibration"] is not None)
    assert kept["confidence"] == (thresholds.fitted or {}).get("confidence")
