"""Train a small network on the breast cancer data of scikit-learn, and ask it for its reasons.

    python examples/tabular.py [--epochs 20] [--folder posttrain_tabular]

LIME and SHAP say what each measurement adds to a diagnosis, Anchors gives a rule that holds it in place, a small
decision tree imitates the whole network, and shuffled columns show what it relies on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_posttrain import Explanations, Surrogate

Batch = tuple[Tensor, Tensor]


class TumourNet(LightningModule):
    """Thirty measurements in, two logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2))

    def forward(self, measurements: Tensor) -> Tensor:
        logits: Tensor = self.net(measurements)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("test/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_tabular"))
    arguments = parser.parse_args()

    seed_everything(0, verbose=False)
    cancer = load_breast_cancer()
    measured = torch.tensor(cancer.data, dtype=torch.float32)
    mean, std = measured.mean(0), measured.std(0)
    data = TensorDataset((measured - mean) / std, torch.tensor(cancer.target))
    parts = random_split(data, [229, 170, 170], generator=torch.Generator().manual_seed(0))
    train, val, test = (DataLoader(part, batch_size=32, shuffle=i == 0) for i, part in enumerate(parts))

    # mean and std bring rules and pictures back to the units of the data
    table: Any = {
        "names": cancer.feature_names.tolist(), "mean": mean.tolist(), "std": std.tolist(),
        "class_names": cancer.target_names.tolist(),
    }  # fmt: skip
    explanations = Explanations(samples=4, threshold=0.9, **table)
    surrogate = Surrogate(**table)
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[explanations, surrogate],
        logger=TensorBoardLogger(arguments.folder, name="tumours"),
        enable_model_summary=False,
        log_every_n_steps=5,
    )
    model = TumourNet()
    trainer.fit(model, train, val)
    trainer.test(model, test, verbose=False)

    found = explanations.results["test"]
    print("\nRules that hold the diagnoses in place:")
    for sample, rule in zip(found.saliency.samples, found.rules, strict=True):
        sure = "" if rule.valid else ", which is not sure enough"
        print(
            f"  IF {rule} THEN {sample.predicted}   ({rule.precision:.0%} of {rule.rows} rows, at least "
            f"{rule.lower:.0%}{sure}; it is {sample.actual})"
        )
    tree = surrogate.results["test"]
    questions = sum(not branch.leaf for branch in tree.branches)
    print(f"A decision tree of {questions} questions agrees with the network on "
          f"{tree.fidelity:.0%} of {tree.held_out_rows} rows that it has not seen.")  # fmt: skip
    folder = Path(trainer.log_dir or "").resolve()
    print(f"\nPictures, tables and figures: {folder / 'posttrain'}")
    print(f"To look at them: tensorboard --logdir {folder} --samples_per_plugin images=100")


if __name__ == "__main__":
    main()
