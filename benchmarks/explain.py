"""What explanations of a model that is only asked cost, and how far they are off, beside other packages'.

    python benchmarks/explain.py [--rounds 5]

All times are medians over interleaved rounds in one process, one thread. Needs the extra ``peers``; the networks are
trained on scikit-learn's tables.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import captum.attr
import numpy as np
import shap
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from lightning_posttrain.attribution.perturbation.shapley import shapley

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.saliency import interleaved

SEEDS = 9

Values = Callable[[int, int], Tensor]
"""From the number of coalitions and a seed to the values ``(K, M)`` of the first output."""


def trained(features: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network for the first columns of breast_cancer, four new rows, and the mean row ``(1, M)``."""
    table = load_breast_cancer()
    rows = ((table.data - table.data.mean(0)) / table.data.std(0))[:, :features].astype(np.float32)
    fitted = MLPClassifier((64, 64), max_iter=300, random_state=0).fit(rows[:400], table.target[:400])
    layers: list[nn.Module] = []
    for weight, bias in zip(fitted.coefs_, fitted.intercepts_, strict=True):
        layer = nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = (torch.as_tensor(part, dtype=torch.float32) for part in (weight.T, bias))
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
    return net, torch.as_tensor(rows[400:404]), torch.as_tensor(rows[:400]).mean(0, keepdim=True)


def estimators(net: nn.Module, x: Tensor, base: Tensor) -> dict[str, Values]:
    def ours(samples: int, seed: int) -> Tensor:
        return shapley(net, x, base, target=0, method="kernel", samples=samples, seed=seed).values

    def of_captum(samples: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        explainer = captum.attr.KernelShap(net)
        found: Tensor = explainer.attribute(x, base, target=0, n_samples=samples, perturbations_per_eval=samples)
        return found

    def of_shap(samples: int, seed: int) -> Tensor:
        np.random.seed(seed)
        explainer = shap.KernelExplainer(lambda rows: net(torch.as_tensor(rows).float())[:, 0].numpy(), base.numpy())
        return torch.as_tensor(explainer.shap_values(x.numpy(), nsamples=samples, l1_reg=False, silent=True))

    return {"ours": ours, "captum": of_captum, "shap": of_shap}


def kernel_shap(rounds: int) -> None:
    print("| KernelSHAP, 4 rows: parts, coalitions | ours, ms | captum, times ours | shap, times ours | "
          "error, ours | error, captum | error, shap |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for features in (10, 16):
        net, x, base = trained(features)
        exact = shapley(net, x, base, target=0, method="exact").values
        by = estimators(net, x, base)
        for samples in (200, 1000):
            taken = interleaved({name: partial(values, samples, 0) for name, values in by.items()}, rounds)
            off = [
                median(float((values(samples, seed) - exact).norm() / exact.norm()) for seed in range(SEEDS))
                for values in by.values()
            ]
            ours, *others = taken.values()
            cells = [f"{ours * 1000:.1f}", *(f"{other / ours:.0f}" for other in others), *(f"{one:.2%}" for one in off)]
            print(f"| {features}, {samples} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("shap").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    kernel_shap(arguments.rounds)


if __name__ == "__main__":
    main()
