"""What somebody else keeps in ``posttrain/`` is after a run as it was before, with every public callback."""

import os
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import ConfusionMatrix, HardExamples, HardExampleSampler, LabelErrors
from tests import public_api, toys

FOREIGN = b"somebody else's"


class Rows(LightningModule):
    """A classifier of rows of a table."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, toys.CLASSES))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    return TensorDataset(x, x[:, : toys.CLASSES].argmax(1))


INPUTS = {"images": (toys.Net, toys.images), "tables": (Rows, rows)}


def run(kind, callbacks):
    """A fit and a test in the present folder; what they warned of."""
    net, data = INPUTS[kind]
    train, held = data(48, seed=0), data(40, seed=1)
    torch.manual_seed(0)
    module = net()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = toys.quiet(callbacks, max_epochs=2)
        trainer.fit(module, toys.loader(train, sampler=HardExampleSampler(train)), toys.loader(held))
        trainer.test(module, toys.loader(held), verbose=False)
    return [str(one.message) for one in caught]


def seen(folder):
    """Every file and link below, with all that could have changed; where links lead to is seen by itself."""
    found = {}
    for path in (Path(top) / name for top, folders, files in os.walk(folder) for name in (*folders, *files)):
        if path.is_symlink():
            found[path] = path.readlink()
        elif path.is_file():
            found[path] = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
    return found


def planted(like, elsewhere):
    """Files and links among, in place of and beside those of a run: in every folder, and for each of its names."""
    names = sorted(path.relative_to(like) for path in like.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    root, victim = Path("posttrain"), elsewhere / "victim.txt"
    elsewhere.mkdir()
    victim.write_bytes(FOREIGN)
    folders = sorted({parent for name in names for parent in name.parents})
    for folder in folders:
        (root / folder / "deep").mkdir(parents=True)
        for name in ("mine.png", "mine.jpg", ".hidden", "deep/holiday.jpg", "deep/picture.png"):
            (root / folder / name).write_bytes(FOREIGN)
    for number, name in enumerate(names):
        path = root / name
        if number % 5 == 0:
            path.write_bytes(FOREIGN)  # of the very name
        elif number % 5 == 1:
            path.symlink_to(victim)
        elif number % 5 == 2:
            path.symlink_to(elsewhere / "not there")
        elif path.suffix == ".png":
            path.with_suffix(".jpg").write_bytes(FOREIGN)
    return names


def check(kind, make, tmp_path, monkeypatch):
    """Run in a clean folder, then twice in one full of foreign files."""
    (tmp_path / "clean").mkdir()
    (tmp_path / "full").mkdir()
    monkeypatch.chdir(tmp_path / "clean")
    run(kind, make())
    monkeypatch.chdir(tmp_path / "full")
    names = planted(tmp_path / "clean" / "posttrain", tmp_path / "elsewhere")
    before = seen(Path("posttrain")), seen(tmp_path / "elsewhere")
    assert len(before[0]) > len(names)
    for reason in ("no record of those that lightning_posttrain wrote", "not written by lightning_posttrain"):
        said = run(kind, make())
        after = seen(Path("posttrain")), seen(tmp_path / "elsewhere")
        assert {path: after[0].get(path) for path in before[0]} == before[0]
        assert after[1] == before[1]
        assert any(reason in text for text in said)
        assert any("is a link" in text for text in said)
    free = {Path("posttrain") / name for number, name in enumerate(names) if number % 5 > 2}
    assert free <= after[0].keys()


@pytest.mark.parametrize("kind", INPUTS)
def test_no_foreign_file_changes_by_the_callbacks_that_delete(kind, tmp_path, monkeypatch):
    check(kind, lambda: [ConfusionMatrix(), HardExamples(), LabelErrors()], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", INPUTS)
def test_no_foreign_file_changes_by_any_callback(kind, tmp_path, monkeypatch):
    check(kind, public_api.callbacks, tmp_path, monkeypatch)


@pytest.mark.parametrize("at", [".", "val", "val/hard_examples"])
def test_nothing_is_written_or_deleted_through_a_link_to_a_folder(at, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "highest_loss").mkdir(parents=True)
    for name in ("mine.png", "highest_loss/01.png", "confusion_matrix.png", "hard_examples.json"):
        (elsewhere / name).write_bytes(FOREIGN)
    link = tmp_path / "posttrain" / at
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere, target_is_directory=True)
    before = seen(elsewhere)
    said = run("images", [ConfusionMatrix(), HardExamples()])
    assert seen(elsewhere) == before
    assert sum("is a link" in text for text in said) == 1 + (at == ".")  # of the fit, and of the test
    assert (tmp_path / "posttrain" / "test" / "confusion_matrix.png").exists() == (at != ".")


def test_a_link_above_is_the_users_choice(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    trainer = toys.quiet(ConfusionMatrix(on_error="raise"), default_root_dir=tmp_path / "run")
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    assert (tmp_path / "disk" / "posttrain" / "val" / "confusion_matrix.png").exists()
