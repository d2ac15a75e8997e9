"""A fit and a test of two forked ranks; run by ``test_predictions.py``.

python -m tests.classification.predictions_on_two_ranks FOLDER
"""

from __future__ import annotations

import os
import sys

import torch
from lightning.pytorch import seed_everything

from lightning_posttrain import ClassificationMetrics
from tests import toys

ROWS = 37


def main(folder: str) -> None:
    torch.set_num_threads(1)
    os.chdir(folder)
    seed_everything(0, verbose=False)
    metrics, module = ClassificationMetrics(on_error="raise"), toys.Net("dict")
    trainer = toys.quiet(metrics, max_epochs=2, strategy="ddp_fork", devices=2)
    trainer.fit(module, toys.loader(), toys.loader(toys.images(21, seed=1), batch_size=4))
    trainer.test(module, toys.loader(toys.images(ROWS, seed=2), batch_size=4), verbose=False)


if __name__ == "__main__":
    main(sys.argv[1])
