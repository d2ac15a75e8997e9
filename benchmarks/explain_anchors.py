"""What Anchors cost for the rows of a table: ours beside the package of the paper's authors.

    python benchmarks/explain_anchors.py [--rounds 5]

Medians over interleaved rounds in one process, one thread. Needs scikit-learn and anchor-exp.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from lightning_posttrain.attribution.perturbation.anchors.anchor import anchor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.saliency import interleaved

EXPLAINED = 4


def trained(x: Tensor, y: Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.requires_grad_(False)


def anchors(rounds: int) -> None:
    from anchor.anchor_tabular import AnchorTabularExplainer

    data: Any = load_breast_cancer()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(data.data, dtype=torch.float32)[order], torch.tensor(data.target)[order]
    x = (x - x.mean(0)) / x.std(0)
    net, rows = trained(x[:200], y[:200]), x[200:]
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
    torch.set_num_threads(1)
    anchors(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
