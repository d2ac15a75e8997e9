"""A fit and a test that export on two forked ranks: `python -m tests.export.two_ranks FOLDER KIND`."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset

from lightning_posttrain import Calibration, ModelExport
from lightning_posttrain.export.run import at_fit_end
from tests import toys


class Uneven(IterableDataset):
    """A quarter of the rows on the first rank, the others on the second."""

    def __iter__(self):
        rank, rows = distributed.get_rank(), toys.images(44, seed=3)
        return iter([rows[index] for index in range(44) if (index % 4 == 0) == (rank == 0)])


class Record(Callback):
    """Writes what each rank knows."""

    def __init__(self, export, folder):
        self.export, self.folder = export, folder

    def on_fit_end(self, trainer, pl_module):
        found = {key: result.to_dict() for key, result in self.export.results.items()}
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def slowly(made):
    def call(*args, **options):
        time.sleep(12)
        return made(*args, **options)

    return call


def main(folder, kind):
    folder = Path(folder)
    export = ModelExport(formats=["pt2"], folder=str(folder / "out"))
    if kind == "not ours":
        (folder / "out").write_text("mine")
    if kind == "slow":
        at_fit_end.made = slowly(at_fit_end.made)
    strategy = DDPStrategy(start_method="fork", timeout=timedelta(seconds=8))
    callbacks = [Calibration(), export, Record(export, folder)]
    trainer = toys.quiet(callbacks, strategy=strategy, devices=2, default_root_dir=folder)
    module = toys.Net()
    validation = DataLoader(Uneven(), batch_size=4) if kind == "uneven" else toys.loader(toys.images(60, seed=1))
    trainer.fit(module, toys.loader(toys.images(64)), validation)
    trainer.test(module, toys.loader(toys.images(50, seed=2)), verbose=False)
    (folder / "main.json").write_text(json.dumps({key: found.to_dict() for key, found in export.results.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
