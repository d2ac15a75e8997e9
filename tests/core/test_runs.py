"""Trainers that the package starts: what they leave as it was, which Lightning they are of, and why they fail."""

import contextlib
import importlib
import logging
import os
import random
import signal
import threading
import weakref

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.multiprocessing import ProcessRaisedException
from torch.utils.data import DataLoader

from lightning_posttrain.core.runs.chatter import without_chatter
from lightning_posttrain.core.runs.failures import LONGEST, free_memory, reason_of
from lightning_posttrain.core.runs.isolation import isolated, seed_of
from lightning_posttrain.core.runs.trainers import (
    interrupt_ends_all,
    lightning_of,
    ranks_run_the_script,
)
from tests import toys

NAMESPACES = ("lightning.pytorch", "pytorch_lightning")


def state():
    """All that a run is to leave as it was."""
    generators = torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return generators, dict(os.environ), mode, signal.getsignal(signal.SIGINT)


def disturb():
    random.random(), np.random.rand(), torch.rand(1)
    os.environ.update(PL_TRAINER="1", WORLD_SIZE="2", MASTER_PORT="1234", CUBLAS_WORKSPACE_CONFIG=":4096:8")
    os.environ.pop("RANK")
    torch.use_deterministic_algorithms(True, warn_only=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_run_leaves_the_process_as_it_was_however_it_ends(error, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    before = state()

    def run():
        with isolated(3):
            disturb()
            if error is not None:
                raise error

    with contextlib.suppress(ValueError, KeyboardInterrupt):
        run()
    assert state() == before


def test_a_run_draws_by_its_seed_alone():
    drawn = []
    for seed in (3, 3, 4):
        with isolated(seed):
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_run_beside_the_main_thread_leaves_the_interrupt_alone():
    failed = []

    def run():
        try:
            with isolated(0):
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start(), thread.join()
    assert not failed


@pytest.mark.skipif(torch.cuda.is_initialized(), reason="CUDA is in use")
def test_a_run_starts_no_cuda_of_its_own(monkeypatch):
    def never(*_):
        raise AssertionError("CUDA was started, and no process can fork")

    monkeypatch.setattr(torch.cuda, "get_rng_state_all", never)
    monkeypatch.setattr(torch.cuda, "empty_cache", never)
    with isolated(0):
        free_memory()


def test_seeds_differ_by_run_number_and_purpose():
    seeds = {seed_of(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_lightning_of_a_module_is_its_own_also_where_it_is_compiled(namespace):
    package = importlib.import_module(namespace)
    module = package.LightningModule()
    assert lightning_of(module) is package
    assert lightning_of(torch.compile(module, backend="eager")) is package
    trainer = package.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    assert lightning_of(trainer, "Trainer") is package
    assert lightning_of(trainer) is lightning_of(module, "Trainer") is lightning_of(torch.nn.Linear(1, 1)) is None


@pytest.mark.parametrize(
    ("strategy", "devices", "scripts"),
    [("auto", 1, False), ("ddp", 1, False), ("ddp", 2, True), ("ddp_spawn", 2, False)],
)
def test_ranks_of_scripts_are_told_from_ranks_that_are_started(strategy, devices, scripts):
    assert ranks_run_the_script(toys.quiet([], strategy=strategy, devices=devices)) is scripts


def test_an_interrupt_is_one_and_an_exit_of_the_users_stays_an_exit():
    class Ending(toys.Net):
        end = KeyboardInterrupt

        def on_train_start(self):
            raise self.end

    for end in (KeyboardInterrupt, ValueError):
        Ending.end = end
        trainer = toys.quiet([])
        with isolated(0), pytest.raises(end), interrupt_ends_all(trainer):
            trainer.fit(Ending(), toys.loader(), toys.loader())
    with pytest.raises(SystemExit), interrupt_ends_all(toys.quiet([])):
        raise SystemExit(3)


def test_what_lightning_says_of_every_trainer_is_left_out_and_all_else_is_heard(caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            with without_chatter(set()):
                rank_zero_info("GPU available: False, used: False")
                rank_zero_info("Restored all states")
        rank_zero_info("GPU available: after it")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Restored all states", "Restored all states", "GPU available: after it"]


def test_the_reason_of_a_rank_that_failed_is_its_own_error():
    lines = ["-- Process 1 terminated with the following error:", "Traceback (most recent call last):", "KeyError: 3"]
    assert reason_of(ProcessRaisedException("\n".join(lines), 1, 77)) == "KeyError: 3"


def test_the_reason_of_a_loaders_worker_is_its_own_error():
    class Torn(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, row):
            raise OSError(f"row {row} is torn")

    with pytest.raises(OSError, match="is torn") as caught:
        list(DataLoader(Torn(), num_workers=1))
    assert reason_of(caught.value) == "OSError: row 0 is torn"


def test_a_reason_is_one_line_and_not_long():
    assert reason_of(RuntimeError("the disk is\n\n  full")) == "RuntimeError: the disk is full"
    assert len(reason_of(RuntimeError("x" * 9999))) == LONGEST


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("9 GiB"), MemoryError(), RuntimeError("CUDA out of memory")])
def test_out_of_memory_is_told_apart(error):
    assert reason_of(error).startswith(f"out of memory: {type(error).__name__}")


@pytest.mark.slow
def test_what_a_failed_run_held_is_let_go():
    held = []

    def run():
        module = toys.Net()
        module.itself = [module]
        held.append(weakref.ref(module))
        raise RuntimeError("no")

    with contextlib.suppress(RuntimeError):
        run()
    free_memory()
    assert held[0]() is None
