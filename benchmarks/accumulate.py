"""What an evaluation costs: ours beside what a user would pick instead, in one process, round after round.

    python benchmarks/accumulate.py [--device cuda] [--rounds 3] [--quick]

Rows of the tables are epochs of the same batches. ``update`` is the time of all batches, ``compute`` that of the
figures at the end, ``x`` how many times ours it takes, ``state`` what is held at the end. Medians over interleaved
rounds, one thread. Needs scikit-learn; torcheval's rows are there if it is installed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MetricCollection
from torchmetrics import classification as tm

from lightning_posttrain.classification.accumulator import Accumulator
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.kept_predictions import KeptPredictions
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.metric.probabilities import LossSums, RankCounts, ReliabilityBins
from lightning_posttrain.core.stream import stage_sizes

COUNTS = (ConfusionCounts, LossSums, RankCounts, ReliabilityBins)
LARGEST = 1 << 21
"""Rows of a data set in these tables, at most."""
Batches = list[tuple[Tensor, Tensor]]


class Ours:
    """The accumulator of the evaluation stream, and the report without intervals, which nobody else works out."""

    def __init__(self, classes: int, device: str, kinds: tuple[Any, ...]) -> None:
        self.metrics = [kind(classes, sync_on_compute=False).to(device) for kind in kinds]
        self.accumulator = Accumulator(self.metrics, classes)

    def update(self, scores: Tensor, target: Tensor) -> None:
        self.accumulator.add(EvalBatch(scores, target))

    def compute(self) -> Any:
        self.accumulator.flush()
        found = [metric.report(metric.states()) for metric in self.metrics]
        return classification_report(Findings.of(found), top_k=(5,))

    def held(self) -> int:
        return sum(_size(metric.states()) for metric in self.metrics)


class WithPredictions(Ours):
    """The same, and the predictions of single rows."""

    def __init__(self, classes: int, device: str, kinds: tuple[Any, ...]) -> None:
        super().__init__(classes, device, kinds)
        self.kept = KeptPredictions(LARGEST)
        self.rows = 0

    def update(self, scores: Tensor, target: Tensor) -> None:
        index = torch.arange(self.rows, self.rows + len(target), device=target.device)
        self.rows += len(target)
        batch = EvalBatch(scores, target, index=index)
        self.accumulator.add(batch)
        self.kept.offer(batch)


class TorchMetricsOnes:
    """The same figures by torchmetrics, with its defaults."""

    def __init__(self, classes: int, device: str, areas: str) -> None:
        macro: dict[str, Any] = {"num_classes": classes, "average": "macro"}
        chosen: dict[str, Any] = {
            "accuracy": tm.MulticlassAccuracy(classes, average="micro"),
            "balanced": tm.MulticlassAccuracy(**macro),
            "top": tm.MulticlassAccuracy(classes, average="micro", top_k=min(5, classes - 1)),
            "precision": tm.MulticlassPrecision(**macro),
            "recall": tm.MulticlassRecall(**macro),
            "specificity": tm.MulticlassSpecificity(**macro),
            "f1": tm.MulticlassF1Score(**macro),
            "f1_each": tm.MulticlassF1Score(classes, average=None),
            "jaccard": tm.MulticlassJaccardIndex(classes),
            "mcc": tm.MulticlassMatthewsCorrCoef(classes),
            "kappa": tm.MulticlassCohenKappa(classes),
            "ece": tm.MulticlassCalibrationError(classes),
            "confusion": tm.MulticlassConfusionMatrix(classes),
        }
        if areas:
            options = {"average": None, "thresholds": 200 if areas == "binned" else None}
            chosen["auroc"] = tm.MulticlassAUROC(classes, **options)
            chosen["ap"] = tm.MulticlassAveragePrecision(classes, **options)
        self.collection = MetricCollection(chosen).to(device)

    def update(self, scores: Tensor, target: Tensor) -> None:
        self.collection.update(scores, target)

    def compute(self) -> Any:
        return self.collection.compute()

    def held(self) -> int:
        seen: dict[int, int] = {}
        for metric in self.collection.values(copy_state=False):
            for state in metric.metric_state.values():
                for part in state if isinstance(state, list) else [state]:
                    seen[part.data_ptr()] = part.numel() * part.element_size()
        return sum(seen.values())


class StoreAndScikitLearn:
    """Logits and targets kept in lists, figures by scikit-learn."""

    def __init__(self, classes: int, device: str) -> None:
        self.classes = classes
        self.kept: Batches = []

    def update(self, scores: Tensor, target: Tensor) -> None:
        self.kept.append((scores.detach().cpu(), target.cpu()))

    def compute(self) -> Any:
        scores = torch.cat([scores for scores, _ in self.kept])
        y = torch.cat([target for _, target in self.kept]).numpy()
        p, predicted, labels = scores.double().softmax(1).numpy(), scores.argmax(1).numpy(), list(range(self.classes))
        one_hot = np.eye(self.classes)[y]
        return (
            sk.confusion_matrix(y, predicted, labels=labels),
            sk.precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0),
            sk.accuracy_score(y, predicted), sk.balanced_accuracy_score(y, predicted),
            sk.matthews_corrcoef(y, predicted), sk.cohen_kappa_score(y, predicted),
            sk.jaccard_score(y, predicted, labels=labels, average=None, zero_division=0),
            sk.log_loss(y, p, labels=labels), sk.top_k_accuracy_score(y, p, k=min(5, self.classes - 1), labels=labels),
            sk.roc_auc_score(one_hot, p, average=None), sk.average_precision_score(one_hot, p, average=None),
        )  # fmt: skip

    def held(self) -> int:
        return sum(_size({"scores": scores, "target": target}) for scores, target in self.kept)


class TorchEvalOnes:
    """What torcheval has of the same figures."""

    def __init__(self, classes: int, device: str) -> None:
        from torcheval import metrics as te

        macro = {"num_classes": classes, "average": "macro"}
        self.metrics = [
            te.MulticlassAccuracy(device=device), te.MulticlassAccuracy(**macro, device=device),
            te.MulticlassAccuracy(k=min(5, classes - 1), device=device), te.MulticlassPrecision(**macro, device=device),
            te.MulticlassRecall(**macro, device=device), te.MulticlassF1Score(**macro, device=device),
            te.MulticlassConfusionMatrix(classes, device=device),
            te.MulticlassAUROC(num_classes=classes, average=None, device=device),
            te.MulticlassAUPRC(num_classes=classes, average=None, device=device),
        ]  # fmt: skip

    def update(self, scores: Tensor, target: Tensor) -> None:
        for metric in self.metrics:
            metric.update(scores, target)

    def compute(self) -> Any:
        return [metric.compute() for metric in self.metrics]

    def held(self) -> int:
        states = [state for metric in self.metrics for state in metric.state_dict().values()]
        parts = [part for state in states for part in (state if isinstance(state, list) else [state])]
        return sum(part.numel() * part.element_size() for part in parts if isinstance(part, Tensor))


def _size(states: dict[str, Tensor]) -> int:
    return sum(state.numel() * state.element_size() for state in states.values())


@dataclass
class Times:
    """Seconds of the rounds of one row."""

    update: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    held: int = 0

    @property
    def total(self) -> float:
        return median(self.update) + median(self.compute)


def batches(rows: int, classes: int, size: int, device: str) -> Batches:
    """Scores of a classifier that is right more often than not."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (rows,), generator=generator)
    scores = torch.randn(rows, classes, generator=generator)
    scores[torch.arange(rows), target] += 3
    pairs = zip(scores.split(size), target.split(size), strict=True)
    return [(part.to(device), labels.to(device)) for part, labels in pairs]


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def epoch(make: Callable[[], Any], data: Batches, times: Times, device: str) -> None:
    """One epoch, from a new object on."""
    one = make()
    begin = clock(device)
    for scores, target in data:
        one.update(scores, target)
    middle = clock(device)
    one.compute()
    times.update.append(middle - begin)
    times.compute.append(clock(device) - middle)
    times.held = one.held()


def rivals(classes: int, device: str, *, slow: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "ours", lambda: Ours(classes, device, (*COUNTS, ScoreHistograms))
    yield "ours, without curves", lambda: Ours(classes, device, COUNTS)
    yield "ours, with predictions", lambda: WithPredictions(classes, device, (*COUNTS, ScoreHistograms))
    yield "ours, exact=True", lambda: Ours(classes, device, (*COUNTS, ExactScores))
    yield "torchmetrics, counts", lambda: TorchMetricsOnes(classes, device, "")
    if slow:
        yield "torchmetrics, exact areas", lambda: TorchMetricsOnes(classes, device, "exact")
        yield "store and scikit-learn", lambda: StoreAndScikitLearn(classes, device)
    if slow and classes <= 100:
        yield "torchmetrics, thresholds=200", lambda: TorchMetricsOnes(classes, device, "binned")
    try:
        import torcheval  # noqa: F401
    except ModuleNotFoundError:
        return
    if slow:
        yield "torcheval", lambda: TorchEvalOnes(classes, device)


def compare(rows: int, classes: int, size: int, device: str, rounds: int) -> None:
    """One table: all of them, round after round."""
    data = batches(rows, classes, size, device)
    chosen = list(rivals(classes, device, slow=True))
    times = {name: Times() for name, _ in chosen}
    epoch(chosen[0][1], data[:3], Times(), device)
    heavy = rows * classes > 4_000_000
    for number in range(rounds):
        for name, make in chosen:
            if number and heavy and not name.startswith("ours") and times[name].total > 3:
                continue  # one round of what takes so long is enough
            epoch(make, data, times[name], device)
    print(f"\nN = {rows:,}, C = {classes:,}, batches of {size}")
    print(f"{'':32}{'update ms':>12}{'a batch':>10}{'compute ms':>12}{'total ms':>11}{'x':>8}{'state MiB':>11}")
    ours = times["ours"].total
    for name, one in times.items():
        update, compute = median(one.update) * 1e3, median(one.compute) * 1e3
        print(
            f"{name:32}{update:12.1f}{update / len(data):10.3f}{compute:12.1f}{update + compute:11.1f}"
            f"{one.total / ours:8.1f}{one.held / 2**20:11.2f}"
        )


def against_argmax(classes: int, size: int, device: str, rounds: int) -> None:
    """An update in units of an argmax of the same batch."""
    data = batches(max(40 * size, 2048), classes, size, device)
    found: dict[str, list[float]] = {"argmax": [], "counts": [], "with curves": []}
    for _ in range(rounds * 3):
        begin = clock(device)
        for scores, _ in data:
            scores.argmax(1)
        found["argmax"].append(clock(device) - begin)
        for name, kinds in (("counts", COUNTS), ("with curves", (*COUNTS, ScoreHistograms))):
            one = Ours(classes, device, kinds)
            one.update(*data[0])
            begin = clock(device)
            for scores, target in data:
                one.update(scores, target)
            one.accumulator.flush()
            found[name].append(clock(device) - begin)
    base = median(found["argmax"])
    ratios = ", ".join(f"{name} {median(found[name]) / base:.1f}" for name in ("counts", "with curves"))
    print(f"  C = {classes:5,}, batch {size:4}: {ratios}; argmax {base / len(data) * 1e3:.3f} ms")


class Kernels(TorchDispatchMode):
    """Counts operations that are no mere views."""

    VIEWS = ("view", "expand", "slice", "unsqueeze", "select", "empty", "alias", "detach", "transpose", "as_strided")

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += not any(view in str(func) for view in self.VIEWS)
        return func(*args, **(kwargs or {}))


def kernels(classes: int, size: int, device: str) -> None:
    """Operations of one update; on a GPU also whether it waits."""
    data = batches(4 * size, classes, size, device)
    rows = []
    for name, make in rivals(classes, device, slow=False):
        one = make()
        one.update(*data[0])
        one.update(*data[1])
        with Kernels() as counted:
            one.update(*data[2])
        rows.append(f"{name} {counted.seen}")
        if device == "cuda" and name == "ours":
            torch.cuda.set_sync_debug_mode("error")
            one.update(*data[3])
            one.accumulator.flush()
            torch.cuda.set_sync_debug_mode("default")
            rows.append("(no synchronisation)")
    print(f"  C = {classes:5,}, batch {size:4}: " + ", ".join(rows))


def launches(classes: int, size: int) -> None:
    """Operations a batch over an epoch of 60, with what is gathered on accelerators of 8 and of 80 GiB."""
    data, host, rows = batches(60 * size, classes, size, "cpu"), stage_sizes.HOST, []
    for memory in (8, 80):
        stage_sizes.HOST = stage_sizes.accelerator_sizes(memory << 30)
        for name, kinds in (("counts", COUNTS), ("with curves", (*COUNTS, ScoreHistograms))):
            one = Ours(classes, "cpu", kinds)
            with Kernels() as counted:
                for scores, target in data:
                    one.update(scores, target)
                one.accumulator.flush()
            rows.append(f"{memory} GiB {name} {counted.seen / len(data):.1f}")
    stage_sizes.HOST = host
    print(f"  C = {classes:5,}, batch {size:4}: " + ", ".join(rows))


def growth(device: str, rounds: int) -> None:
    """Ours over rows and classes."""
    print(f"\nGrowth\n{'':8}" + "".join(f"{f'N = {rows:,}':>22}" for rows in (1_000, 10_000, 50_000)))
    for classes in (10, 100, 1000):
        cells = []
        for rows in (1_000, 10_000, 50_000):
            data, times = batches(rows, classes, 256, device), Times()
            for _ in range(rounds):
                epoch(partial(Ours, classes, device, (*COUNTS, ScoreHistograms)), data, times, device)
            cells.append(f"{times.total * 1e3:9.1f} ms {times.held / 2**20:5.1f} MiB")
        print(f"C={classes:<6}" + "".join(f"{cell:>22}" for cell in cells))


def constant(device: str) -> None:
    """What areas under curves hold, and how far they may be off, over ever more rows of ten classes."""
    print("\nAreas under curves of ten classes")
    print(f"{'rows':>12}{'held MiB':>10}{'AUROC within':>14}{'AP within':>12}{'ms':>8}")
    data = batches(40 * 512, 10, 512, device)
    one = Ours(10, device, (ScoreHistograms,))
    rows = 0
    for goal in (65_536, 262_144, 524_288, 1_048_576, 2_097_152):
        while rows < goal:
            scores, target = data[rows // 512 % len(data)]
            one.update(scores * (1 + rows / goal), target)
            rows += 512
        one.accumulator.flush()
        begin = clock(device)
        auroc, precision = one.metrics[0].report(one.metrics[0].states()).within
        spent = clock(device) - begin
        print(f"{rows:12,}{one.held() / 2**20:10.1f}{auroc:14.1e}{precision:12.1e}{spent * 1e3:8.1f}")


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.short = nn.Conv2d(inside, out, 1, stride) if stride > 1 or inside != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.main(x) + self.short(x))


def resnet18(classes: int) -> nn.Module:
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        *(Block(*width) for width in widths), Block(512, 512, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes),
    ).eval()  # fmt: skip


@torch.inference_mode()
def beside_a_network(device: str, rounds: int) -> None:
    """An epoch of 512 pictures, all figures included, beside the forwards of a ResNet-18 at 224."""
    network, pictures = resnet18(1000).to(device), torch.randn(16, 3, 224, 224, device=device)
    data = batches(512, 1000, 16, device)
    forward, times = [], Times()
    network(pictures)
    for _ in range(rounds):
        begin = clock(device)
        network(pictures)
        forward.append((clock(device) - begin) * len(data))
        epoch(lambda: Ours(1000, device, (*COUNTS, ScoreHistograms)), data, times, device)
    share = median(times.update) / median(forward)
    print(f"\nUpdates of 512 rows of 1,000 classes: {share:.3%} of the forwards of a ResNet-18 at 224 x 224")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small tables only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    device, rounds = arguments.device, arguments.rounds
    print(f"torch {torch.__version__}, {device}, one thread")
    sizes = [(10_000, 10, 64), (10_000, 10, 256), (10_000, 100, 256)]
    if not arguments.quick:
        sizes += [(50_000, 100, 256), (10_000, 1000, 256), (50_000, 1000, 256)]
    for rows, classes, size in sizes:
        compare(rows, classes, size, device, rounds)
    print("\nAn update, in units of an argmax of the batch")
    for classes, size in ((10, 64), (10, 256), (100, 256), (1000, 64), (1000, 256)):
        against_argmax(classes, size, device, rounds)
    print("\nOperations an update")
    for classes, size in ((10, 64), (1000, 256)):
        kernels(classes, size, device)
    print("\nOperations a batch of an epoch with the sizes of accelerators, counted on a CPU")
    for classes in (10, 100, 1000):
        launches(classes, 256)
    growth(device, rounds)
    constant(device)
    beside_a_network(device, rounds)


if __name__ == "__main__":
    main()
