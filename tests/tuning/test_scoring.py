"""Scores of a validation, by the callbacks' own way to them, beside a plain loop over the loader."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.tuning import tune_knobs, validation_scores

ROWS = 37
LOSSES = {
    "multiclass": F.cross_entropy,
    "binary": lambda logits, y: F.binary_cross_entropy_with_logits(logits[:, 0], y.float()),
    "multilabel": lambda logits, y: F.binary_cross_entropy_with_logits(logits, y.float()),
}


def rows(task, seed=0, number=ROWS):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 6, generator=generator)
    if task == "multiclass":
        return TensorDataset(x, x[:, :4].argmax(1))
    return TensorDataset(x, (x[:, 0] > 0).long() if task == "binary" else (x[:, :3] > 0).long())


def loader(task="multiclass", shuffle=False, **options):
    return DataLoader(rows(task, **options), batch_size=8, shuffle=shuffle)


def net(task="multiclass", namespace="lightning.pytorch"):
    columns = {"multiclass": 4, "binary": 1, "multilabel": 3}[task]

    class Net(importlib.import_module(namespace).LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, columns))

        def training_step(self, batch, batch_idx):
            return LOSSES[task](self.layers(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", LOSSES[task](self.layers(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    return Net()


def quiet(namespace="lightning.pytorch", **options):
    said = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return importlib.import_module(namespace).Trainer(**{**said, "enable_checkpointing": False, **options})


@torch.no_grad()
def by_hand(module, task):
    x, y = rows(task).tensors
    scores = module.eval().layers(x)
    return (torch.cat([-scores / 2, scores / 2], 1) if task == "binary" else scores), y


def same(found, expected):
    """Scores of one model, which of two classes may differ by a number of their own a row."""
    found, expected = (each.double() - each.double().mean(-1, keepdim=True) for each in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", LOSSES)
def test_scores_are_those_of_a_plain_loop_in_the_order_of_the_loader(task):
    module = net(task)
    trainer = quiet()
    scores, target, told = validation_scores(trainer, module, loader(task))
    expected, y = by_hand(module, task)
    if task == "multilabel":
        torch.testing.assert_close(scores, expected)
    else:
        same(scores, expected)
    assert torch.equal(target, y)
    assert told == task
    assert not any("Keeper" in type(callback).__name__ for callback in trainer.callbacks)


def test_a_module_of_the_other_namespace_is_read_too():
    module = net(namespace="pytorch_lightning")
    found = validation_scores(quiet("pytorch_lightning"), module, loader())
    torch.testing.assert_close(found.scores, by_hand(module, "multiclass")[0])


def test_of_two_loaders_the_first_counts_and_a_datamodule_will_do():
    from lightning.pytorch import LightningDataModule

    class Data(LightningDataModule):
        def val_dataloader(self):
            return [loader(), loader(seed=1, number=20)]

    module = net()
    for data in (Data(), Data().val_dataloader()):
        found = validation_scores(quiet(), module, data)
        torch.testing.assert_close(found.scores, by_hand(module, "multiclass")[0])


def test_checkpoints_of_a_run_are_members_and_the_module_keeps_its_weights(tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=3, filename="{epoch}")
    module = net()
    options = {"callbacks": [keep], "enable_checkpointing": True, "max_epochs": 3}
    quiet(**options, log_every_n_steps=1).fit(module, loader(), loader())
    files = sorted(keep.best_k_models)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = validation_scores(quiet(), module, loader(), members=files)
    assert found.scores.shape == (ROWS, 3, 4)
    for place, file in enumerate(files):
        one = net()
        one.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
        torch.testing.assert_close(found.scores[:, place], by_hand(one, "multiclass")[0])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert tune_knobs(found.scores, found.target, task=found.task).start.scores == "best checkpoint"


@pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled")
def test_rows_that_differ_between_members_are_refused(tmp_path):
    module = net()
    trainer = quiet()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"gave each member other rows\. .*without shuffle=True"):
        validation_scores(quiet(), module, loader(shuffle=True), members=[tmp_path / "a.ckpt"] * 2)
    with pytest.raises(ValueError, match="`members` is empty"):
        validation_scores(quiet(), module, loader(), members=[])


def test_without_a_row_there_is_a_sentence():
    with pytest.raises(ValueError, match="no row of scores was read, wanted a validation loader"):
        validation_scores(quiet(limit_val_batches=0), net(), loader())
