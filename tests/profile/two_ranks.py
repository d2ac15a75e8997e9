"""Runs Trainers on two forked ranks and writes what each rank's profile found; run by ``test_ranks.py``.

python -m tests.profile.two_ranks FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_posttrain import ClassificationMetrics, FeatureMaps, ModelProfile
from tests import toys


class FirstRankOnly(IterableDataset):
    """Nine rows on the first rank, none on the other."""

    def __iter__(self):
        return iter(toys.images(9) if not dist.get_rank() else ())


class Plain(toys.Net):
    """Without buffers, which DDP shares with a rank that has no batch to share them at."""

    def __init__(self):
        super().__init__()
        self.model[1] = nn.Identity()


class Record(Callback):
    def __init__(self, profile, path):
        self.profile, self.path = profile, path

    def _write(self, trainer, pl_module):
        found = {place: result.to_dict() for place, result in self.profile.results.items()}
        self.path.with_suffix(f".rank{trainer.global_rank}.json").write_text(json.dumps(found))

    on_fit_end = on_test_end = _write


def main(folder):
    torch.set_num_threads(1)
    whole = toys.loader(toys.images(40), batch_size=5)
    for name, val in (("even", whole), ("first", DataLoader(FirstRankOnly(), batch_size=4))):
        profile = ModelProfile(batch_sizes=[1], seconds=0.02, target={"val/accuracy": 0.0}, on_error="raise")
        callbacks = [
            ClassificationMetrics(on_error="raise", resamples=0), profile, FeatureMaps(samples=4, on_error="raise"),
            Record(profile, folder / name),
        ]  # fmt: skip
        trainer = toys.quiet(
            callbacks, strategy="ddp_fork", devices=2, default_root_dir=folder / name, num_sanity_val_steps=0
        )
        trainer.fit(Plain(), whole, val)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
