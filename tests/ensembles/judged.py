"""Members judged in one pass, and each in a run of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_posttrain.classification import StreamCallback
from lightning_posttrain.ensembles.members.files import checkpoints_of
from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import read_members
from tests import toys


class Judging(StreamCallback):
    """Keeps the scores of each batch, and those of members where there are some."""

    tag = "judging"
    asks_again = True

    def __init__(self, members: Members | None = None, forward_fn: Any = None, **options: Any) -> None:
        super().__init__(on_error="raise", **options)
        self.members, self.forward_fn = members, forward_fn
        self.own: list[Any] = []
        self.found: list[list[Any]] = []

    def observe(self, key, batch):
        self.own.append(batch)

    def replay(self, key, batch, again):
        if self.members is not None:
            trainer = again.module.trainer
            self.found.append(self.members.scores(trainer, again.module, again, batch, forward_fn=self.forward_fn))


@dataclass
class Run:
    """A fit that has left checkpoints."""

    module: Any
    data: Any
    folder: Any
    options: dict[str, Any] = field(default_factory=dict)
    paths: list[Any] = field(default_factory=list)

    def trainer(self, *callbacks: Any, **options: Any) -> Any:
        return toys.quiet(list(callbacks), default_root_dir=self.folder, **{**self.options, **options})

    def fit(self, *callbacks: Any, epochs: int = 3, **checkpoint: Any) -> Any:
        seed_everything(1, verbose=False)
        said = {"save_top_k": -1, "dirpath": self.folder, **checkpoint}
        keeps = ModelCheckpoint(**said)
        trainer = self.trainer(*callbacks, keeps, max_epochs=epochs, enable_checkpointing=True)
        trainer.fit(self.module, self.data, self.data)
        self.paths = checkpoints_of(trainer)
        return trainer

    def together(self, module: Any, paths: Any = None, **options: Any) -> list[Any]:
        """Scores of each batch, by member, in one pass over the data with a module."""
        states = [state for path in paths or self.paths for state in read_members(path, module)]
        judging = Judging(Members(states), **options)
        self.trainer(judging).test(module, self.data, verbose=False)
        return [[batch.scores for batch in batches] for batches in judging.found]

    def apart(self, module: Any, paths: Any = None) -> list[Any]:
        """The same from a test of each checkpoint."""
        by_member = []
        for path in paths or self.paths:
            judging = Judging()
            self.trainer(judging).test(module, self.data, ckpt_path=str(path), verbose=False)
            by_member.append([batch.scores for batch in judging.own])
        return [list(batches) for batches in zip(*by_member, strict=True)]


def equal(found: Any, wanted: Any) -> bool:
    """Whether all scores of all members are the same, to the last bit."""
    assert len(found) == len(wanted) > 0
    return all(
        len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(found, wanted, strict=True)
    )
