"""An ensemble fitted and tested on one rank and on two; run by ``test_ensemble_on_ranks.py``.

python -m tests.ensembles.two_ranks_of_an_ensemble FOLDER
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import ConfusionMatrix, HardExamples
from lightning_posttrain.ensembles import CheckpointEnsemble
from tests import toys
from tests.ensembles.test_callback import noisy

TRAIN, VAL, TEST = noisy(80, 0), noisy(61, 1), noisy(37, 2)


class Record(Callback):
    """Writes what each rank has."""

    def __init__(self, ensemble, path):
        self.ensemble, self.path = ensemble, path

    def _write(self, trainer, pl_module):
        found = {key: result.to_dict() for key, result in self.ensemble.results.items()}
        (self.path / f"{trainer.state.fn}.rank{trainer.global_rank}.json").write_text(json.dumps(found))

    on_train_end = on_test_end = _write


def ensemble_of(**options):
    return CheckpointEnsemble(on_error="raise", soups=True, **options)


def trainer_of(folder, world, *callbacks, **options):
    ranks = {"strategy": "ddp_fork", "devices": world} if world > 1 else {}
    return toys.quiet(list(callbacks), default_root_dir=folder, **ranks, **options)


def trained(folder):
    """Checkpoints of a run on one rank, which has learned on batches that two ranks would not share alike."""
    seed_everything(0, verbose=False)
    kept = ModelCheckpoint(dirpath=folder / "kept", monitor="val/loss", save_top_k=4, save_weights_only=True)
    trainer = toys.quiet([kept], max_epochs=4, enable_checkpointing=True, default_root_dir=folder)
    trainer.fit(toys.Net(), toys.loader(TRAIN), toys.loader(VAL))


def validated(folder, members, world):
    """Fitted by validate, and tested, in a way that leaves each rank other rows."""
    folder.mkdir()
    matrix, hard = ConfusionMatrix(on_error="raise"), HardExamples(on_error="raise")
    ensemble = CheckpointEnsemble(on_error="raise", members=members, then=[hard, matrix])
    module = toys.Net()
    trainer = trainer_of(folder, world, ensemble, Record(ensemble, folder))
    trainer.validate(module, toys.loader(VAL, batch_size=7), verbose=False)
    home(folder / "validated.json", {"val": ensemble.results["val"].to_dict(), "fit": ensemble.fit is not None})
    trainer.test(module, toys.loader(TEST, batch_size=6), verbose=False)
    found = {
        "test": ensemble.results["test"].to_dict(),
        "counts": matrix.results["test"].counts.tolist(),
        "hard": {name: value for name, value in hard.results["test"].to_dict().items() if name != "rows"},
    }
    home(folder / "tested.json", found)


def home(path, found):
    path.write_text(json.dumps(found))


def fitted(folder, world):
    """A fit with soups."""
    folder.mkdir()
    seed_everything(0, verbose=False)
    ensemble, module = ensemble_of(), toys.Net()
    kept = ModelCheckpoint(dirpath=folder / "kept", monitor="val/loss", save_top_k=3)
    trainer = trainer_of(
        folder, world, ensemble, Record(ensemble, folder), kept, max_epochs=3, enable_checkpointing=True
    )
    trainer.fit(module, toys.loader(TRAIN), toys.loader(VAL))
    trainer.test(module, toys.loader(TEST), verbose=False)
    home(folder / "home.json", {key: result.to_dict() for key, result in ensemble.results.items()})


def refused(folder, members):
    """What ends a run on the first rank ends it on both."""
    folder.mkdir()
    said = {}
    (folder / "broken").mkdir()
    (folder / "broken" / "ensemble").mkdir()
    (folder / "broken" / "ensemble" / "fit.pt").write_text("mine")
    for path in members:
        (folder / "broken" / path.name).write_bytes(path.read_bytes())
    for name, which in (("nowhere", str(folder / "nowhere" / "*.ckpt")), ("broken", str(folder / "broken"))):
        ensemble = CheckpointEnsemble(members=which)
        try:
            trainer_of(folder, 2, ensemble).test(toys.Net(), toys.loader(TEST), verbose=False)
        except Exception as error:  # whatever a launcher makes of it
            said[name] = str(error).strip().splitlines()[-1]
    few = TensorDataset(*(part[:0] for part in VAL.tensors))
    ensemble = CheckpointEnsemble(members=[str(path) for path in members])
    trainer = trainer_of(folder, 2, ensemble)
    trainer.validate(Silent(), DataLoader(few, batch_size=4), verbose=False)
    said["nothing"] = str(ensemble.results)
    home(folder / "said.json", said)


class Silent(toys.Net):
    def step(self, batch, stage):
        return None


def main(folder):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trained(folder / "run")
    members = sorted((folder / "run" / "kept").glob("*.ckpt"))
    for world in (1, 2):
        validated(folder / f"validated-{world}", [str(path) for path in members], world)
    fitted(folder / "fitted-2", 2)
    refused(folder / "refused", members)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
