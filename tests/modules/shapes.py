"""What a shape of a module is: the module as people write it, its loaders, and its rows worked out by hand.

A shape is a class under ``@shape("what is odd about it")``. Its ``by_hand(batch, stage)`` gives what the figures are to
be of: ``(scores, targets)`` of the rows that count, or a dict of such by the target's name. Scores are ``(R, C)``, for
``binary`` ``(R,)``, for ``multilabel`` ``(R, L)`` with targets alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

FEATURES, CLASSES, BATCH = 6, 3, 16
ROWS = {"train": 48, "val": 45, "test": 37}


@dataclass(frozen=True)
class Shape:
    """One way to write a classifier, and what is right for it.

    Args:
        name: what is odd about it.
        make: makes the module.
        data: from a stage to its loader, or a list of loaders.
        task: what the hand loop's scores are of.
        scores: whether these are logits or probabilities.
        options: what is said to the callbacks in any case.
        error: what a ``ValueError`` before training says; "" where none is to come.
        advice: options that the error names, and with which the figures are right.
        error_in: the stage that alone may raise it, "test"; "" for all.
        or_right: right figures are as good as the error.
        warns: messages of warnings that may come.
        trainer: options of the Trainer.
        tolerance: of accuracy and log loss.
        losses: whether the log loss is compared: of scores that no loss takes for logits there is none.
    """

    name: str
    make: Callable[[], LightningModule]
    data: Callable[[str], Any]
    task: Literal["multiclass", "binary", "multilabel"] = "multiclass"
    scores: Literal["logits", "probabilities"] = "logits"
    options: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    advice: Mapping[str, Any] = field(default_factory=dict)
    error_in: Literal["", "test"] = ""
    or_right: bool = False
    warns: tuple[str, ...] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-5
    losses: bool = True


SHAPES: dict[str, Shape] = {}


def generator(stage: str) -> torch.Generator:
    return torch.Generator().manual_seed(list(ROWS).index(stage))


def noisy(x: torch.Tensor, stage: str, classes: int = CLASSES) -> torch.Tensor:
    """The largest of the first columns, not always."""
    return (x[:, :classes] + 0.7 * torch.randn(len(x), classes, generator=generator(stage))).argmax(1)


def table(stage: str, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of numbers, and a class for each."""
    x = torch.randn(ROWS[stage], FEATURES, generator=generator(stage))
    return x, noisy(x, stage, classes)


class Mapped(Dataset):
    """Samples of tensors of equal length, in the form that a function makes of them."""

    def __init__(self, tensors, form):
        self.tensors, self.form = tensors, form

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, i):
        return self.form(*(tensor[i] for tensor in self.tensors))


def load(tensors, form=lambda *sample: sample, size=BATCH, **options):
    return DataLoader(Mapped(tensors, form), batch_size=size, **options)


def rows(stage: str) -> Any:
    """Batches ``(x, y)``."""
    return load(table(stage))


def shape(name: str, data: Callable[[str], Any] = rows, **expected: Any) -> Callable[[Any], Any]:
    """Put a class, or a function that makes a module, into the table."""

    def put(make: Any) -> Any:
        assert name not in SHAPES
        SHAPES[name] = Shape(name, make, data, **expected)
        return make

    return put


class Module(LightningModule):
    """A network, an optimiser, and the same loss in all stages; a shape writes over what it does otherwise."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, CLASSES) if net is None else net

    def forward(self, x):
        return self.net(x)

    def loss(self, batch, stage):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def size(self, batch):
        """What is said to ``self.log``; None where Lightning finds it."""

    def training_step(self, batch, batch_idx):
        return self.loss(batch, "train")

    def evaluation_step(self, batch, stage):
        loss = self.loss(batch, stage)
        self.log(f"{stage}_loss", loss, batch_size=self.size(batch))
        return loss

    def validation_step(self, batch, batch_idx):
        return self.evaluation_step(batch, "val")

    def test_step(self, batch, batch_idx):
        return self.evaluation_step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def by_hand(self, batch, stage):
        x, y = batch
        return self.net(x), y
