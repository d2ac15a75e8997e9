"""What members cost: a test with ``K`` of them in one pass beside ``K`` tests, and what is fitted to their scores.

    python benchmarks/ensembles.py [--rounds 5] [--only tests fits]

CPU seconds, one thread, one process, in rounds in which all take turns. Behind each batch of a test one forward of a
member alone is timed, of the same pictures; ratios are medians over batches of what a batch takes, its loading and the
trainer's own work included, by that forward. What is done once a run, as reading members and drawing, is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import CheckpointEnsemble, StreamCallback
from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation, Needs
from lightning_posttrain.ensembles import STRATEGIES, cross_fit, fit_strategies
from lightning_posttrain.ensembles.judging import KINDS, Judge

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.accumulate import resnet18

BATCHES = 24
Work = Callable[[], Any]


class Classifier(LightningModule):
    """A network and its loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> None:
        self.log("loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def cnn(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes),
    )  # fmt: skip


class Transformer(nn.Module):
    """Patches of 4 x 4 pixels through four encoder layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, norm_first=True)
        self.patches = nn.Conv2d(3, 128, 4, 4)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.patches(x).flatten(2).mT).mean(1))


NETS: Mapping[str, Callable[[int], nn.Module]] = {"ResNet-18": resnet18, "CNN": cnn, "transformer": Transformer}


def least(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """CPU seconds of each, the least over rounds in which they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            begun = time.process_time()
            work()
            if number:  # the first round warms up
                taken[name].append(time.process_time() - begun)
    return {name: min(times) for name, times in taken.items()}


class Setting:
    """Members of one architecture in files, a fit of their strategies, and test data."""

    def __init__(self, folder: Path, net: str, members: int, classes: int, batch: int) -> None:
        torch.manual_seed(0)
        self.members, self.batch, self.make = members, batch, lambda: Classifier(NETS[net](classes))
        self.paths = []
        for number in range(members):
            module, path = self.make(), folder / f"{net}-{members}-{classes}-{batch}" / f"{number}.ckpt"
            path.parent.mkdir(parents=True, exist_ok=True)
            trainer = self.trainer([])
            trainer.strategy.connect(module)
            trainer.save_checkpoint(path, weights_only=True)
            self.paths.append(path)
        self.classes = classes
        self.live = self.make()  # no member
        self.first = self.make()
        self.first.load_state_dict(torch.load(self.paths[0], weights_only=True)["state_dict"])

    def data(self, batches: int) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(1)
        rows = batches * self.batch
        target = torch.randint(self.classes, (rows,), generator=generator)
        return DataLoader(
            TensorDataset(torch.randn(rows, 3, 32, 32, generator=generator), target), batch_size=self.batch
        )

    @staticmethod
    def trainer(callbacks: Sequence[Any]) -> Trainer:
        return Trainer(
            accelerator="cpu", callbacks=list(callbacks), logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tempfile.gettempdir(),
        )  # fmt: skip

    def ensemble(self) -> CheckpointEnsemble:
        """Fitted to validation, with stacking where there are few classes."""
        found = CheckpointEnsemble(members=self.paths, name="one_pass", on_error="raise")
        self.trainer([found]).validate(self.live, self.data(20), verbose=False)
        return found

    def test(self, module: LightningModule, batches: int, callbacks: Callable[[], Sequence[Any]]) -> Work:
        data = self.data(batches)
        return lambda: self.trainer(callbacks()).test(module, data, verbose=False)


@final
class Figures(StreamCallback):
    """What a test works out of each strategy and of each member, here of the module: proper scores, accuracy, ECE."""

    tag = "figures"

    def metrics(self) -> Needs:
        return KINDS

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> None:
        return None

    def show(self, result: Any, title: str) -> Iterator[Tagged]:
        yield from ()


class Stopwatch(Callback):
    """CPU seconds of each batch of a test, its loading included, and right behind it those of a forward alone."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net.eval()
        self.pairs: list[tuple[float, float]] = []
        self.begun: float | None = None

    def on_test_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        now = time.process_time()
        with torch.inference_mode():
            self.net(batch[0])
        end = time.process_time()
        if self.begun is not None:
            self.pairs.append((now - self.begun, end - now))
        self.begun = time.process_time()


def per_batch(setting: Setting, rounds: int) -> dict[str, tuple[float, float]]:
    """Forwards of a member that a batch takes, and milliseconds of a forward, of tests with and without members."""
    ensemble = setting.ensemble()
    kinds: dict[str, tuple[LightningModule, Callable[[], Any]]] = {
        "bare": (setting.first, list),
        "metrics": (setting.first, lambda: [Figures(on_error="raise")]),
        "ensemble": (setting.live, lambda: [ensemble]),
        "live member": (setting.first, lambda: [ensemble]),
    }
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, (module, callbacks) in kinds.items():
            watch = Stopwatch(setting.first.net)
            setting.test(module, BATCHES, lambda c=callbacks, w=watch: [*c(), w])()
            if number:  # the first round warms up
                taken[kind] += watch.pairs
    forward = {kind: 1000 * median(one for _, one in pairs) for kind, pairs in taken.items()}
    return {kind: (median(whole / one for whole, one in pairs), forward[kind]) for kind, pairs in taken.items()}


def beside_tests(rounds: int, members: int = 5, batch: int = 64) -> None:
    """A test with members beside one of each."""
    print(f"| {members} members, batches of {batch}, 32 px, in forwards of a member | one test | {members} tests | "
          f"one pass, the module a member | one pass, the module no member | a forward, ms |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for name in NETS:
        with tempfile.TemporaryDirectory() as folder:
            ms = per_batch(Setting(Path(folder), name, members, 10, batch), rounds)
        cells = [ms["bare"][0], members * ms["metrics"][0], ms["live member"][0], ms["ensemble"][0]]
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {ms['bare'][1]:.1f} |", flush=True)


def growth(rounds: int) -> None:
    """What is beside the forwards, by members and classes."""
    print("\n| CNN, batches of 64: members, classes | one pass, the module a member, in forwards | beyond K | "
          "beyond K, ms |")  # fmt: skip
    print("|---|---|---|---|")
    for members, classes in ((2, 10), (5, 10), (10, 10), (5, 100), (5, 1000)):
        with tempfile.TemporaryDirectory() as folder:
            ms = per_batch(Setting(Path(folder), "CNN", members, classes, 64), rounds)
        taken, one = ms["live member"]
        beyond = taken - members
        print(f"| {members}, {classes:,} | {taken:.2f} | {beyond:.2f} | {beyond * one:.1f} |", flush=True)


def bookkeeping(rounds: int) -> None:
    """What all strategies and members take of scores that are there."""
    print("\n| a batch of 64: members, classes | figures of all strategies and members, ms |")
    print("|---|---|")
    for members, classes in ((2, 10), (5, 10), (10, 10), (5, 100), (5, 1000)):
        generator = torch.Generator().manual_seed(0)
        logp = torch.randn(1200, members, classes, generator=generator).log_softmax(2).double()
        target = torch.randint(classes, (1200,), generator=generator)
        names = [name for name in STRATEGIES if name != "stacking" or classes == 10]
        ways = fit_strategies(names, logp, target)
        judge = Judge(
            ClassReading("multiclass"), (classes, 0), strategies=ways, members=members, device=torch.device("cpu")
        )
        scores = logp[:64].float()

        def work(judge: Judge = judge, scores: Tensor = scores, target: Tensor = target) -> None:
            for _ in range(20):
                judge.add([EvalBatch(each, target[:64]) for each in scores.unbind(1)])
            _ = judge.metrics

        taken = least({"judge": work}, rounds)["judge"]
        print(f"| {members}, {classes:,} | {1000 * taken / 20:.2f} |", flush=True)


def rows(rounds: int) -> None:
    """A test of more rows."""
    print("\n| CNN, 5 members: rows | CPU s | ms a row |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), "CNN", 5, 10, 64)
        ensemble = setting.ensemble()
        works = {n * 64: setting.test(setting.first, n, lambda: [ensemble]) for n in (16, 64, 256)}
        found = least({str(n): work for n, work in works.items()}, min(rounds, 2))
    for n, seconds in found.items():
        print(f"| {int(n):,} | {seconds:.2f} | {1000 * seconds / int(n):.3f} |", flush=True)


def fits(rounds: int, number: int = 5000, members: int = 12, classes: int = 10) -> None:
    """Each strategy fitted, and all of them judged by cross-fitting."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (number,), generator=generator)
    scores = torch.randn(number, members, classes, generator=generator)
    scores += 1.5 * F.one_hot(target, classes)[:, None] * torch.rand(1, members, 1, generator=generator)
    logp = scores.double().log_softmax(2)

    def one(name: str) -> Work:
        return lambda: fit_strategies([name], logp, target)

    works: dict[str, Work] = {name: one(name) for name in STRATEGIES}
    works["all, judged by 5 folds"] = lambda: cross_fit(list(STRATEGIES), logp, target)
    print(f"\n| {number:,} rows, {members} members, {classes} classes | CPU s |\n|---|---|")
    for name, seconds in least(works, min(rounds, 2)).items():
        print(f"| {name} | {seconds:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()):
        for name in arguments.only:
            PARTS[name](arguments.rounds)


PARTS: Mapping[str, Callable[[int], None]] = {
    "tests": beside_tests, "growth": growth, "bookkeeping": bookkeeping, "rows": rows, "fits": fits,
}  # fmt: skip


if __name__ == "__main__":
    main()
