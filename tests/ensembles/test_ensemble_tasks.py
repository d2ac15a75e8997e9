"""Ensembles of every task: figures of members and strategies by hand, row by row."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain.ensembles import CheckpointEnsemble, paired_interval
from tests import toys

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:test. the ensemble that was chosen on validation is worse"
)
LABELS, CLASSES = 5, 3


class Task(toys.Net):
    """A small network of a task."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        width = {"one": 1, "flat": 1, "two": 2, "labels": LABELS, "chances": CLASSES, "classes": CLASSES}
        self.model = nn.Conv2d(1, CLASSES, 3, padding=1) if kind == "pixels" else nn.Linear(8, width[kind])

    def forward(self, x):
        found = self.model(x)
        return found.softmax(1) if self.kind == "chances" else found.flatten() if self.kind == "flat" else found

    def loss(self, found, y):
        if self.kind in ("one", "flat"):
            return F.binary_cross_entropy_with_logits(found.flatten(), y.float())
        if self.kind == "labels":
            return F.binary_cross_entropy_with_logits(found[y >= 0], y[y >= 0].float())
        if self.kind == "chances":
            return F.nll_loss(found.log(), y)
        return F.cross_entropy(found, y, ignore_index=255)

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])

    def step(self, batch, stage):
        found = self(batch[0])
        loss = self.loss(found, batch[1])
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "logits": found} if self.kind != "chances" else {"loss": loss, "probs": found}


def data(kind, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    if kind == "pixels":
        x = torch.randn(rows, 1, 6, 6, generator=generator)
        y = (x[:, 0] + torch.randn(rows, 6, 6, generator=generator)).mul(1.5).round().clamp(-1, 1).long() + 1
        hidden = torch.rand(rows, 6, 6, generator=generator) < torch.rand(rows, 1, 1, generator=generator)
        return TensorDataset(x, y.masked_fill(hidden, 255))
    x = torch.randn(rows, 8, generator=generator)
    if kind == "labels":
        y = (x[:, :LABELS] + torch.randn(rows, LABELS, generator=generator) > 0.3).long()
        missing = torch.rand(rows, LABELS, generator=generator) < torch.linspace(0, 0.9, LABELS)
        return TensorDataset(x, y.masked_fill(missing, -1))
    classes = 2 if kind in ("one", "flat", "two") else CLASSES
    noisy = x[:, :classes] + torch.randn(rows, classes, generator=generator)
    y = noisy.argmax(1)
    return TensorDataset(x, y.masked_fill(torch.arange(rows) % 7 == 0, 255) if kind == "classes" else y)


OPTIONS = {
    "one": {"task": "binary"},
    "flat": {"task": "binary"},
    "two": {"task": "binary"},
    "labels": {"task": "multilabel", "ignore_index": -1},
    "chances": {"scores": "probabilities"},
    "classes": {"ignore_index": 255},
    "pixels": {"ignore_index": 255},
}


def chances(kind, net, x):
    """Probabilities of each row and class ``(R, C)``, in float64."""
    with torch.no_grad():
        found = net(x).double()
    if kind in ("one", "flat", "labels"):
        one = found.sigmoid().reshape(-1)
        return torch.stack([1 - one, one], 1)
    if kind == "chances":
        return found
    return found.softmax(1).movedim(1, -1).reshape(-1, found.shape[1])


def run(kind, said=None, **options):
    torch.manual_seed(0)
    ensemble, module = CheckpointEnsemble(on_error="raise", **{**OPTIONS[kind], **options}), Task(kind)
    kept = ModelCheckpoint(monitor="val/loss", save_top_k=3)
    trainer = toys.quiet([ensemble, kept], max_epochs=4, enable_checkpointing=True)
    trainer.fit(module, toys.loader(data(kind, 60, 0)), toys.loader(data(kind, 80, 1)))
    return trainer, module, ensemble


def members(kind, ensemble, x):
    found = []
    for member in ensemble.fit.members:
        net = Task(kind)
        net.load_state_dict(torch.load(Path(ensemble.fit.folder, member.file), weights_only=True)["state_dict"])
        found.append(chances(kind, net.eval(), x))
    return torch.stack(found, 1)


@pytest.mark.parametrize("kind", OPTIONS)
def test_figures_are_means_over_the_rows_that_count(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer, module, ensemble = run(kind)
    test = data(kind, 70, 2)
    trainer.test(module, toys.loader(test), verbose=False)
    x, y = test.tensors
    each, flat = members(kind, ensemble, x), y.reshape(-1)
    sample = torch.arange(len(flat)) // (len(flat) // len(y))
    real = (flat >= 0) & (flat < 255)
    each, flat, sample = each[real], flat[real], sample[real]
    rows, report = torch.arange(len(flat)), ensemble.results["test"]
    for place, member in enumerate(report.members):
        own = -each[rows, place, flat].log()
        assert member.log_loss == pytest.approx(float(own.mean()), abs=1e-6)
        assert member.accuracy == pytest.approx(float((each[:, place].argmax(1) == flat).double().mean()))
    best = ensemble.fit.strategies["best"].used[0]
    losses = {
        "best": -each[rows, best, flat].log(),
        "mean": -each.mean(1)[rows, flat].log(),
        "mean_logits": -each.log().mean(1).log_softmax(1)[rows, flat],
    }
    for name, loss in losses.items():
        assert report[name].log_loss == pytest.approx(float(loss.mean()), abs=1e-6), name
        assert report[name].loss.value == pytest.approx(report[name].log_loss - report.best.log_loss, abs=1e-6), name
        apart = (loss - losses["best"])[:, None]
        low, high = paired_interval(apart, sample)[0].tolist()
        assert (report[name].loss.low, report[name].loss.high) == pytest.approx((low, high), abs=1e-6), name
    hits = {name: report[name].accuracy - report.best.accuracy for name in ensemble.fit.validation}
    assert {name: report[name].hits.value for name in hits} == pytest.approx(hits, abs=1e-6)
    assert report.samples == len(sample.unique())


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_best_member_has_the_same_log_loss_on_validation_as_its_strategy(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, ensemble = run(kind)
    report = ensemble.results["val"]
    x, y = data(kind, 80, 1).tensors
    each, flat = members(kind, ensemble, x), y.reshape(-1)
    real = (flat >= 0) & (flat < 255)
    losses = -each[real].log().gather(2, flat[real][:, None, None].expand(-1, each.shape[1], 1))[..., 0].mean(0)
    found = [member.log_loss for member in report.members]
    assert found == pytest.approx(losses.tolist(), abs=1e-6)
    assert min(found) == found[ensemble.fit.strategies["best"].used[0]]
    assert ensemble.fit.rows == len(x) * (36 if kind == "pixels" else 1) - (
        0 if kind in ("labels",) else int((~real).sum())
    )


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_network_gives_what_was_reported(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer, module, ensemble = run(kind)
    test = data(kind, 70, 2)
    trainer.test(module, toys.loader(test), verbose=False)
    x, y = test.tensors
    flat = y.reshape(-1)
    real = (flat >= 0) & (flat < 255)
    for name in ensemble.fit.validation:
        network = ensemble.network(module, name)
        with torch.no_grad():
            scores = network(x).double()
        if kind in ("one", "flat", "labels"):
            one = scores.sigmoid().reshape(-1)
            found = torch.stack([1 - one, one], 1)
        else:
            found = scores.softmax(1).movedim(1, -1).reshape(-1, scores.shape[1])
        loss = -found[real][torch.arange(int(real.sum())), flat[real]].log().mean()
        assert ensemble.results["test"][name].log_loss == pytest.approx(float(loss), abs=1e-5), name
