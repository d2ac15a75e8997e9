"""Members in one test of two forked ranks, beside a test of each; run by ``test_members_on_ranks.py``.

python -m tests.ensembles.members_on_two_ranks FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from lightning.pytorch import seed_everything
from torch import nn

from lightning_posttrain.core.stream.extra_pass import extra_pass
from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import module_member, read_members
from lightning_posttrain.ensembles.members.weights import live_tensors, mark
from lightning_posttrain.ensembles.soups import recomputed
from tests import toys
from tests.ensembles.judged import Judging, Run

RANKS = {"strategy": "ddp_fork", "devices": 2}


class Saving(Judging):
    """Writes what a rank saw of a test."""

    def __init__(self, path, members=None):
        super().__init__(members)
        self.path = path

    def summarize(self, *_):
        """No result."""

    def teardown(self, trainer, pl_module, stage):
        super().teardown(trainer, pl_module, stage)
        found = {
            "own": [(batch.scores, batch.target, batch.valid) for batch in self.own],
            "members": [[(each.scores, each.target, each.valid) for each in batches] for batches in self.found],
            "module": {name: tensor.cpu() for name, tensor in live_tensors(pl_module).items()},
        }
        torch.save(found, self.path.with_suffix(f".rank{trainer.global_rank}.pt"))


class Passing(Judging):
    """Reads validation and training once more at the end of a fit."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def open(self, trainer, module):
        self.own = []

    def finish(self, trainer, module):
        passed, own = [], self.own
        extra_pass(trainer, module, self.reading, lambda batch, _: passed.append(batch.scores))
        state = recomputed(module_member(module, "soup"), trainer, module)
        found = {"passed": passed, "validated": [batch.scores for batch in own], "mark": mark(state.tensors)}
        torch.save(found, self.path.with_suffix(f".rank{trainer.global_rank}.pt"))


def main(folder):
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    run = Run(toys.Net(), toys.loader(), folder)
    run.fit()
    states = [state for path in run.paths for state in read_members(path, run.module)]
    for name, members in (("together", Members(states)), *((f"apart-{i}", None) for i in range(len(states)))):
        module = toys.Net()
        if members is None:
            path = run.paths[int(name.partition("-")[2])]
            module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        trainer = toys.quiet([Saving(folder / name, members)], default_root_dir=folder, **RANKS)
        trainer.test(module, toys.loader(batch_size=4), verbose=False)
    module = toys.Net()
    module.model.append(nn.BatchNorm1d(toys.CLASSES))
    trainer = toys.quiet([Passing(folder / "passing")], default_root_dir=folder, **RANKS)
    trainer.fit(module, toys.loader(batch_size=4), toys.loader(batch_size=4))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
