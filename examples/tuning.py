"""Search hyper-parameters: TPE against random search at an equal number of trials, and what comes after it.

    python examples/tuning.py [--trials 40] [--repeats 3] [--folder posttrain_demo]

The data are scikit-learn's handwritten digits under noise, 500 of them to train. Killed at any moment and started
again it goes on where it was; started twice, both processes share the trials.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.tuning import Study, Trial, ValidationScores, tune, tune_knobs, validation_scores

Batch = tuple[Tensor, Tensor]
NOISE = 0.4
PARTS = [500, 500, 797]
SPACE = {
    "lr": (1e-4, 0.1, "log"),
    "weight_decay": (1e-4, 1.0, "log"),
    "width": (16, 256, "log"),
    "dropout": (0.0, 0.7),
    "smoothing": (0.0, 0.3),
    "depth": [1, 2, 3],
}


class DigitsNet(LightningModule):
    """A perceptron on 64 pixels, with all that the search may set."""

    def __init__(
        self, *, lr: float, weight_decay: float, width: int, dropout: float, smoothing: float, depth: int
    ) -> None:
        super().__init__()
        self.lr, self.weight_decay, self.smoothing = lr, weight_decay, smoothing
        layers: list[nn.Module] = [nn.Flatten()]
        for columns in [64, *[width] * depth][:depth]:
            layers += [nn.Linear(columns, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1], label_smoothing=self.smoothing)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("test/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)


def noisy_loaders() -> tuple[DataLoader[Any], ...]:
    """Loaders of 500 noisy digits to train, 500 to validate and 797 to test."""
    digits, generator = load_digits(), torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=generator)
    images = torch.tensor(digits.images, dtype=torch.float32)[order] / 16
    images = images + NOISE * torch.randn(images.shape, generator=generator)
    labels = torch.tensor(digits.target)[order]
    parts = zip(torch.split(images, PARTS), torch.split(labels, PARTS), strict=True)
    return tuple(
        DataLoader(TensorDataset(*part), batch_size=50 if place == 0 else PARTS[place], shuffle=place == 0)
        for place, part in enumerate(parts)
    )


def search(sampler: Any, *, trials: int, seed: int, folder: Path) -> Study:
    return tune(
        lambda params: DigitsNet(**params),
        SPACE,
        monitor="val/loss",
        trials=trials,
        sampler=sampler,
        folder=folder / f"{sampler}_{seed}",
        seed=seed,
        data=noisy_loaders(),
        trainer={"accelerator": "cpu", "max_epochs": 15, "log_every_n_steps": 10},
        test=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_demo"))
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # these networks are too small to share
    folder = (arguments.folder / "tuning").resolve()
    found = {
        sampler: [
            search(sampler, trials=arguments.trials, seed=seed, folder=folder) for seed in range(arguments.repeats)
        ]
        for sampler in ("tpe", "random")
    }
    for seed, studies in enumerate(zip(*found.values(), strict=True)):
        print(f"\nseed {seed}: " + ", ".join(f"{study.sampler} {_figures(study)}" for study in studies))
    print(f"\n{verdict(found)}")

    winner = min((study for studies in found.values() for study in studies), key=lambda study: study.best.value or 0.0)
    home = Path(winner.folder)
    print(f"\n{winner}\n")
    print(f"Settings of the best for LightningCLI's --config: {home / 'best.yaml'}")
    print(f"HParams tab, curves and pictures: tensorboard --logdir {home}")

    turn_knobs(winner)


def turn_knobs(study: Study) -> None:
    """Weights of the five best trials as members, temperature and thresholds, without another training step."""
    nets = [trained(study, trial) for trial in study.ranked[:5]]
    _, val, test = noisy_loaders()
    members, target, task = scores_of(nets, val)
    print("\nKnobs after training, on validation scores of the best trial:")
    print(tune_knobs(members[:, 0], target, task=task))
    began = perf_counter()
    knobs = tune_knobs({"best trial": members[:, 0], f"best {len(nets)}": members}, target, task=task)
    print(f"\nThe same with the {len(nets)} best trials as members, {perf_counter() - began:.1f} s:\n{knobs}")

    members, target, task = scores_of(nets, test)
    taken = members if knobs.combination is not None else members[:, 0]
    loss = F.nll_loss(knobs.probabilities(taken).log(), target)
    alone = F.cross_entropy(members[:, 0], target)
    print(f"\nOn test, which chose nothing: log loss {loss:.4f} with these knobs, {alone:.4f} of the best trial alone.")


def trained(study: Study, trial: Trial) -> DigitsNet:
    """The network of a trial, with the weights of its best epoch."""
    checkpoint = Path(study.folder) / trial.folder / "checkpoints" / "best.ckpt"
    net = DigitsNet(**trial.params)
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    return net


def scores_of(nets: list[DigitsNet], loader: DataLoader[Any]) -> ValidationScores:
    """Scores of several networks, which differ in their layers, as those of members."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    found = [validation_scores(trainer, net, loader) for net in nets]
    return ValidationScores(torch.stack([each.scores for each in found], 1), found[0].target, found[0].task)


def _figures(study: Study) -> str:
    return f"{study.best.value:.4f} on validation, {study.best.test['test/loss']:.4f} on test"


def verdict(found: dict[str, list[Study]]) -> str:
    """Who won, with figures: the best of each study on validation, which chose it, and the same on test."""
    trials, repeats = len(found["tpe"][0].trials), len(found["tpe"])
    validation = {name: [study.best.value or 0.0 for study in studies] for name, studies in found.items()}
    test = {name: [study.best.test["test/loss"] for study in studies] for name, studies in found.items()}
    return (
        f"At {trials} trials each, {repeats} times: {_compared('validation', validation)}; {_compared('test', test)}."
    )


def _compared(what: str, losses: dict[str, list[float]]) -> str:
    """A winner where the mean difference of the pairs is beyond two of its standard errors, else none."""
    apart = torch.tensor(losses["random"]) - torch.tensor(losses["tpe"])
    tpe, random, gain = mean(losses["tpe"]), mean(losses["random"]), float(apart.mean())
    error = float(apart.std()) / len(apart) ** 0.5 if len(apart) > 1 else float("inf")
    first = (
        ("TPE wins" if gain > 0 else "random search wins") if abs(gain) > 2 * error else "neither wins beyond chance"
    )
    wins = f"TPE is ahead in {int((apart > 0).sum())} of {len(apart)}"
    return f"on {what} {first}: mean loss {tpe:.4f} with TPE, {random:.4f} with random search, {wins}"


if __name__ == "__main__":
    main()
