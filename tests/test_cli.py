"""Every callback from a LightningCLI file, in both namespaces."""

import importlib
import sys

import pytest
import torch

import lightning_posttrain
from tests import toys

CONFIG = """
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning_posttrain.ClassificationMetrics
      init_args: {log: [accuracy], class_names: [a, b, c, d]}
    - class_path: lightning_posttrain.ConfusionMatrix
      init_args: {target_fn: tests.test_cli.second, on_error: raise}
    - class_path: lightning_posttrain.SaliencyMaps
      init_args: {methods: [saliency], samples: 2, layer: null}
    - class_path: lightning_posttrain.FeatureMaps
      init_args: {layers: [net.model.0, net.model.2], samples: [1, 4], drawn: 1}
"""


def second(batch):
    return batch[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_a_yaml_file_builds_and_runs_them(namespace, tmp_path, monkeypatch):
    pl = importlib.import_module(namespace)
    cli = importlib.import_module(f"{namespace}.cli")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = toys.Net()

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.net(batch[0])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return toys.loader()

        val_dataloader = train_dataloader

    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    monkeypatch.setattr(sys, "argv", ["train", "fit", "--config", str(path)])
    run = cli.LightningCLI(Module, Data, save_config_callback=None)
    ours = [c for c in run.trainer.callbacks if type(c).__module__.startswith("lightning_posttrain")]
    assert [type(c) for c in ours] == [
        lightning_posttrain.ClassificationMetrics,
        lightning_posttrain.ConfusionMatrix,
        lightning_posttrain.SaliencyMaps,
        lightning_posttrain.FeatureMaps,
    ]
    assert all(set(c.results) == {"val"} for c in ours)
    assert ours[0].results["val"].class_names == ("a", "b", "c", "d")
    assert list(ours[2].results["val"].maps) == ["saliency"]
    assert [stage.name for stage in ours[3].results["val"].stages] == ["net.model.0", "net.model.2"]
