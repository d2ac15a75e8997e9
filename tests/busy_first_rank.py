"""Runs a fit on two ranks of which the first explains for longer than the process group waits; run by a test.

python -m tests.busy_first_rank fork|spawn
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lightning_posttrain import Calibration, ConfusionMatrix, DecisionThresholds, LabelErrors, SaliencyMaps
from tests import toys


def slowly(module, inputs):
    time.sleep(4.5)
    return module(inputs)


def main(start: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # ranks that wait for each other's threads look like lost ones
    calibration, matrix = Calibration(), ConfusionMatrix()
    others = [DecisionThresholds(max_risk=0.5), LabelErrors()]
    maps = SaliencyMaps(methods=["saliency"], samples=2, faithfulness=False, forward_fn=slowly, stages=["val"])
    module = toys.Net()
    trainer = Trainer(
        accelerator="cpu", devices=2, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[calibration, matrix, maps, *others],
        strategy=DDPStrategy(start_method=start, timeout=timedelta(seconds=4), process_group_backend="gloo"),
    )  # fmt: skip
    trainer.fit(module, toys.loader(), toys.loader())
    rows = int(matrix.results["val"].counts.sum())
    network = calibration.calibrated(nn.Identity())
    adjusted = not torch.equal(network(torch.eye(4)), torch.eye(4))
    again = toys.quiet([calibration, matrix])
    again.test(module, toys.loader(), verbose=False)
    found = {
        "rows": rows,
        "explained": len(maps.results["val"].samples),
        "adjusted": adjusted,
        "method": calibration.fitted["method"],
        "reason": calibration.results["test"].reason,
        "results": [sorted(callback.results) for callback in others],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
