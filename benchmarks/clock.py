"""What it costs to know where a run's seconds went: our clock beside Lightning's profilers, one thread.

    python benchmarks/clock.py [--epochs 4] [--rounds 5]

First one hook, in microseconds, with nothing in it. Then a fit of examples/digits.py with posttrain_suite: CPU seconds
over those without any profiler, seconds that are accounted for, and the rows themselves. Medians over interleaved
rounds in one process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler

from lightning_posttrain import posttrain_suite
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.profile.clock.clock import Clock
from lightning_posttrain.profile.clock.spent import Spent, accounted, spent

sys.path.insert(0, str(Path(__file__).parents[1]))
from examples.digits import DigitsNet, digits_loaders

HOOKS = 20_000
STATE_KEY = "ConfusionMatrix{'name': None}"


class Clocked(Callback):
    """Places a clock for a run."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rows: tuple[Spent, ...] = ()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.clock.place(trainer.profiler)
        EvaluationStream.of(trainer).book(self.clock.bracket)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.rows = spent(self.clock, EvaluationStream.of(trainer).writer.cpu_seconds())

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.clock.give_back()


def of_a_hook(profiler: Any) -> float:
    """Microseconds of an empty bracket, the making of its name included, as Lightning's ``call.py`` has it."""
    key, start = STATE_KEY, time.perf_counter()
    for _ in range(HOOKS):
        with profiler.profile(f"[Callback]{key}.on_train_batch_end"):
            pass
    return (time.perf_counter() - start) / HOOKS * 1e6


def hooks(rounds: int) -> dict[str, float]:
    """Microseconds of a bracket under each profiler, without and with the clock."""
    taken: dict[str, list[float]] = {}
    for _ in range(3 * rounds):
        for make in (PassThroughProfiler, SimpleProfiler):
            profiler, clock = make(), Clock()
            taken.setdefault(make.__name__, []).append(of_a_hook(profiler))
            clock.place(profiler)
            taken.setdefault(f"the clock on {make.__name__}", []).append(of_a_hook(profiler))
            clock.give_back()
    return {name: median(times) for name, times in taken.items()}


def fit(epochs: int, *, clocked: bool, profiler: Any = None) -> tuple[float, Clocked | None]:
    """CPU seconds of a fit, and the clock that saw it."""
    seed_everything(0, verbose=False)
    train, val, _ = digits_loaders()
    watch = Clocked() if clocked else None
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, callbacks=[*([watch] if watch else []), *posttrain_suite()],
            default_root_dir=folder, profiler=profiler, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        start = time.process_time()
        trainer.fit(DigitsNet(), train, val)
        return time.process_time() - start, watch


def fits(epochs: int, rounds: int) -> tuple[dict[str, list[float]], list[Clocked]]:
    """CPU seconds of fits by name, and what the clocks saw."""
    taken: dict[str, list[float]] = {"no profiler": [], "SimpleProfiler": [], "the clock": []}
    clocks = []
    for number in range(rounds + 1):
        found = [
            fit(epochs, clocked=False), fit(epochs, clocked=False, profiler=SimpleProfiler()), fit(epochs, clocked=True)
        ]  # fmt: skip
        if number:  # the first round warms up
            for times, (seconds, watch) in zip(taken.values(), found, strict=True):
                times.append(seconds)
                clocks += [watch] if watch else []
    return taken, clocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    print("| an empty hook | µs |\n|---|---|")
    for name, micros in hooks(arguments.rounds).items():
        print(f"| {name} | {micros:.2f} |")

    with contextlib.redirect_stderr(io.StringIO()):
        taken, clocks = fits(arguments.epochs, arguments.rounds)
    base = taken["no profiler"]
    print(f"\n| {arguments.epochs} epochs on digits | fit, CPU s | over no profiler |\n|---|---|---|")
    for name, times in taken.items():
        ratio = median(one / of_base for one, of_base in zip(times, base, strict=True))
        print(f"| {name} | {median(times):.2f} | {ratio:.3f} |")

    shares = [accounted(watch.rows) for watch in clocks]
    print(f"\naccounted for: {100 * median(shares):.2f} % (least {100 * min(shares):.2f} %) of the run's seconds")
    rows = clocks[-1].rows
    summed = math.fsum(row.seconds for row in rows if row.kind != "background")
    print(f"rows add up to {summed:.6f} s; {sum(row.calls for row in rows):,} hooks, steps and fetches\n")
    print("| | seconds | calls | share |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.seconds:.3f} | {row.calls} | {100 * row.share:.1f} % |")


if __name__ == "__main__":
    main()
