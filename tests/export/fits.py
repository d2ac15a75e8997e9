"""Fits of a small network with an export, and what lies in their folders."""

import json

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from tests import toys


def fitted(folder, export, *others, module=None, epochs=2, data=None, **options):
    """A fit whose files lie in a folder, and its trainer."""
    module = toys.Net() if module is None else module
    logger = CSVLogger(folder, name="")
    callbacks = [*others, export, ModelCheckpoint(monitor="val/loss", save_top_k=options.pop("keep", 1))]
    trainer = toys.quiet(callbacks, max_epochs=epochs, logger=logger, enable_checkpointing=True, **options)
    train, val = data or (toys.loader(toys.images(64)), toys.loader(toys.images(60, seed=1)))
    trainer.fit(module, train, val)
    return trainer, module


def place(trainer):
    return f"{trainer.log_dir}/posttrain/export"


def manifest(trainer):
    with open(f"{place(trainer)}/manifest.json") as file:  # noqa: PTH123
        return json.load(file)


def answers_of(module, rows):
    module.eval()
    with torch.no_grad():
        return module(rows).softmax(1).numpy()


def best_of(trainer, module):
    found = type(module)()
    found.load_state_dict(torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"])
    return found
