"""What explanations of a model that is only asked cost, and how far they are off, beside other packages'.

    python benchmarks/explain.py [--rounds 5]

All times are medians over interleaved rounds in one process, one thread. Needs the extra ``peers``; the networks are
trained on scikit-learn's tables.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import captum.attr
import numpy as np
import shap
import torch
from anchor.anchor_tabular import AnchorTabularExplainer
from captum._utils.models.linear_model import SkLearnLinearRegression
from lime.lime_image import LimeImageExplainer
from sklearn.datasets import load_breast_cancer, load_sample_images
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.perturbation.lime import lime
from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.segments import parts_of
from lightning_posttrain.explanations.perturbation.shapley import shapley

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.saliency import interleaved

SEEDS = 9
EXPLAINED = 4
"""Rows that anchors are worked out for."""
IMAGES, SIDE = 600, 96
"""Perturbed images, and their side in pixels."""

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


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 3, 2, 1)]
    return nn.Sequential(*body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)).eval()


def lime_images(rounds: int) -> None:
    photo = torch.tensor(load_sample_images().images[0][:SIDE, :SIDE] / 255).float().movedim(2, 0)[None]
    net, parts = convolutional(), parts_of(photo, "image")
    hidden = hidden_of(photo, "image", parts)[0]
    ready = photo.expand(64, -1, -1, -1).contiguous()
    explainer = LimeImageExplainer(random_state=0)

    @torch.inference_mode()
    def forwards() -> None:
        for first in range(0, IMAGES, len(ready)):
            net(ready[: IMAGES - first])

    def ours() -> None:
        lime(net, photo, hidden, parts=parts.index, samples=IMAGES, chunk=64)

    def asked(images: Any) -> Any:
        with torch.inference_mode():
            return net(torch.as_tensor(images).float().movedim(3, 1)).numpy()

    def peer() -> None:
        labels = parts.index[0, 0].numpy()
        explainer.explain_instance(
            photo[0].movedim(0, 2).numpy().astype(float), asked, num_samples=IMAGES, top_labels=1, batch_size=64,
            segmentation_fn=lambda _image: labels,
        )  # fmt: skip

    def of_captum() -> None:
        surrogate = SkLearnLinearRegression()
        captum.attr.Lime(net, interpretable_model=surrogate).attribute(
            photo, baselines=hidden, target=0, feature_mask=parts.index, n_samples=IMAGES, perturbations_per_eval=64
        )

    taken = interleaved({"forwards": forwards, "ours": ours, "lime": peer, "captum": of_captum}, rounds)
    print(f"\n| LIME, an image of {SIDE} px, {IMAGES} perturbed | times the forwards alone |\n|---|---|")
    for name in ("ours", "lime", "captum"):
        print(f"| {name} | {taken[name] / taken['forwards']:.2f} |")


def fitted(x: Tensor, y: Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.requires_grad_(False)


def anchors(rounds: int) -> None:
    data: Any = load_breast_cancer()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(data.data, dtype=torch.float32)[order], torch.tensor(data.target)[order]
    x = (x - x.mean(0)) / x.std(0)
    net, rows = fitted(x[:200], y[:200]), x[200:]
    predicted, chosen = net(rows).argmax(1), rows[:EXPLAINED]
    explainer = AnchorTabularExplainer(list(data.target_names), list(data.feature_names), rows.numpy(), {})
    found: dict[str, Any] = {}

    def peer() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            found["peer"] = [
                explainer.explain_instance(
                    row.numpy(), lambda z: net(torch.tensor(z, dtype=torch.float32)).argmax(1).numpy(), threshold=0.95
                )
                for row in chosen
            ]

    def ours() -> None:
        found["ours"] = anchor(net, chosen, rows, predicted=predicted)

    def searched() -> None:
        found["exact"] = anchor(net, chosen, rows, predicted=predicted, exact=True)

    times = interleaved({"anchor-exp": peer, "ours": ours, "ours, KL-LUCB": searched}, rounds)
    print("\n| Anchors, breast_cancer, a row | ms | times faster | valid | mean coverage |\n|---|---|---|---|---|")
    for name, rules in (("anchor-exp", "peer"), ("ours", "ours"), ("ours, KL-LUCB", "exact")):
        if rules == "peer":
            said, coverage = "-", [rule.coverage() for rule in found[rules]]
        else:
            said = f"{sum(rule.valid for rule in found[rules])} of {EXPLAINED}"
            coverage = [rule.coverage for rule in found[rules]]
        cells = [f"{times[name] / EXPLAINED * 1000:.0f}", f"{times['anchor-exp'] / times[name]:.0f}", said]
        print(f"| {name} | " + " | ".join(cells) + f" | {sum(coverage) / EXPLAINED:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("shap").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    kernel_shap(arguments.rounds)
    anchors(arguments.rounds)
    lime_images(arguments.rounds)


if __name__ == "__main__":
    main()
