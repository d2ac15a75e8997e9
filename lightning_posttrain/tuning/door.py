"""``tune``, the entry point of a search, and the checks of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.tuning.asked import Asked, Rule
from lightning_posttrain.tuning.building import Build, check_one_process
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.result import Mode, Study
from lightning_posttrain.tuning.samplers import RANDOM_AT_FIRST, check_pruner, check_sampler
from lightning_posttrain.tuning.search import Search
from lightning_posttrain.tuning.space import grid_of
from lightning_posttrain.tuning.space_checks import checked_space
from lightning_posttrain.tuning.storage import StudyStore, check_url
from lightning_posttrain.tuning.trial_queue import TrialQueue
from lightning_posttrain.tuning.trial_run import TrialRun

FEW = 15
"""Trials below which a sampler that learns is little better than chance."""


def tune(  # noqa: PLR0913 - all by keyword
    build: Build,
    space: Mapping[str, Any],
    *,
    monitor: str,
    folder: str | Path,
    trials: int | None = None,
    mode: Mode = "min",
    sampler: Literal["tpe", "random", "gp", "grid"] = "tpe",
    pruner: Literal["median", "hyperband", "patience"] | None = "median",
    value: Rule = "best",
    data: Any = None,
    trainer: Mapping[str, Any] | None = None,
    test: bool = False,
    seed: int = 0,
    storage: str | None = None,
    name: str | None = None,
    grace: float = 600.0,
) -> Study:
    """Search the parameters with which a LightningModule's fit gives the best figure.

    Each trial calls ``build`` and fits what it gives, in a folder of its own below ``folder``: its curves for
    TensorBoard and the checkpoint of its best epoch. Called again it goes on where it was. Called in several processes
    at once, on one machine or on many, these share the trials. A process may be killed at any moment: its trial is
    repeated by another, or by the next call, and none is run twice to its end.

    The best value is optimistic, as it was chosen: report ``test`` beside it.

    Args:
        build: takes the parameters of a trial; gives a LightningModule, or ``(module, data)``, or
            ``(module, data, trainer_kwargs)``, or ``(module, data, trainer)`` with a Trainer of your own.
        space: by parameter ``(low, high)``, ``(low, high, "log")``, whole numbers where both are ints, both ends taken
            in; or a list of choices.
        monitor: name of the figure, as it is logged when a validation ends; without validation, a training epoch.
        folder: of the study, shared by its processes unless ``storage`` is a database.
        trials: how many; None with ``sampler="grid"`` for all combinations. Failed ones count.
        mode: ``"min"`` where less is better, ``"max"`` where more is.
        sampler: ``"tpe"`` (Watanabe, 2023, arXiv:2304.11127), ``"gp"`` (a Gaussian process), ``"random"`` or
            ``"grid"``. The first ten trials of the first two are random.
        pruner: ends trials that promise nothing. ``"median"``: below the median of the others at the same training
            step, from the sixth trial and its second report on. ``"hyperband"`` (Li et al., 2018, arXiv:1603.06560).
            ``"patience"``: no better for three reports. Trials are compared at equal training steps, so the first two
            want a batch size that the space leaves alone.
        value: ``"best"`` of a trial's reports, which is what its checkpoint is of, or its ``"last"``.
        data: a datamodule, a loader, or ``(train, validation)`` or ``(train, validation, test)``, where ``build`` gives
            none.
        trainer: arguments of all Trainers; callbacks in it are copied for each trial.
        test: run the best trial's checkpoint on the test data at the end.
        seed: of samplers and trials. One process and one seed give one study, however often it was broken off.
        storage: URL of a database, as ``"postgresql+psycopg://user:password@host/database"``, for machines that share
            no folder; None for a journal in ``folder``. SQLite is for one process: it does not grow with processes,
            which the journal does.
        name: of the study in its storage; the folder's name by default.
        grace: seconds of silence after which a process of *another* machine is taken for dead. One of this machine is
            known at once.

    Raises:
        StudyRefused: an argument cannot be used, the folder holds a study of something else, no trial can run as asked,
            or the first three fail for one reason.
        ImportError: Optuna, SciPy or a database's driver is missing.

    Example:
        >>> import tempfile
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> class Net(BoringModel):
        ...     def validation_step(self, batch, batch_idx):
        ...         self.log("val_loss", self(batch).square().mean())
        >>> options = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 2, "logger": False}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     space = {"width": [2, 4]}
        ...     build = lambda params: Net()
        ...     study = tune(build, space, monitor="val_loss", folder=folder, sampler="grid", trainer=options)
        >>> [trial.params for trial in study.trials]
        [{'width': 2}, {'width': 4}]
    """
    check_one_process()
    _check_one_of("mode", mode, get_args(Mode))
    _check_one_of("value", value, get_args(Rule))
    check_sampler(sampler)
    check_pruner(pruner or "none")
    _check_arguments(build, monitor, seed, grace)
    space = checked_space(space)
    home = Path(folder).expanduser().resolve()
    asked = Asked(
        space, monitor, mode, value, _count(trials, sampler, space), sampler, pruner or "none", seed, grace, home
    )
    if storage is not None:
        check_url(storage)
    home.mkdir(parents=True, exist_ok=True)
    _hint(asked, storage)
    queue = TrialQueue(StudyStore(home, storage, name or home.name, mode, asked.pruner), asked)
    return Search(asked, queue, TrialRun(build, asked, data, trainer or {}), test).go()


def _count(trials: int | None, sampler: str, space: Mapping[str, Any]) -> int:
    """How many trials; of a grid no more than it has."""
    if trials is not None and (not isinstance(trials, int) or isinstance(trials, bool) or trials < 1):
        raise StudyRefused(f"`trials` is {trials!r}, wanted a whole number from 1 on.")
    if sampler == "grid":
        size = len(grid_of(space))
        return size if trials is None else min(trials, size)
    if trials is None:
        raise StudyRefused(f'`trials` is None, wanted how many: only `sampler="grid"` has an end, not {sampler!r}.')
    return trials


def _check_arguments(build: Any, monitor: Any, seed: Any, grace: Any) -> None:
    if not callable(build):
        raise StudyRefused(f"`build` is {build!r}, wanted a function from a dict of parameters to a LightningModule.")
    if not isinstance(monitor, str) or not monitor:
        raise StudyRefused(f"`monitor` is {monitor!r}, wanted the name of a logged figure, as 'val_loss'.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise StudyRefused(f"`seed` is {seed!r}, wanted a whole number from 0 on.")
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not grace > 0:
        raise StudyRefused(f"`grace` is {grace!r}, wanted seconds above 0.")


def _check_one_of(name: str, given: Any, known: tuple[str, ...]) -> None:
    if given not in known:
        raise StudyRefused(f"`{name}` is {given!r}, wanted one of {list(known)}.")


def _hint(asked: Asked, storage: str | None) -> None:
    if asked.sampler in ("tpe", "gp") and asked.trials < FEW:
        rank_zero_info(
            f"the first {min(asked.trials, RANDOM_AT_FIRST)} of {asked.trials} trials are random, as "
            f'`sampler="{asked.sampler}"` has nothing to learn from before; {FEW} or more make it worth its while.'
        )
    if storage is not None and storage.startswith("sqlite"):
        rank_zero_info(
            "SQLite is for one process: it is no faster with several. Leave `storage` out for a journal in `folder`, "
            "which several processes share well."
        )
