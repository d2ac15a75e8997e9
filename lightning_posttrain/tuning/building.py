"""What ``build`` gives, and the Trainer of a trial."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lightning_posttrain.core.runs.trainers import QUIET, best_checkpoint, lightning_of, ranks_run_the_script
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.result import Mode

Build = Callable[[dict[str, Any]], Any]
GIVEN = "a LightningModule, (module, data), (module, data, trainer_kwargs) or (module, data, trainer)"
SCRIPTS = (
    "every rank of it runs this script anew and would ask for a trial of its own. Take "
    '`trainer={"strategy": "ddp_spawn", ...}` or "ddp_fork", whose ranks share one trial, or one device a trial'
)


@final
@dataclass(frozen=True)
class Built:
    """What one trial trains.

    Args:
        module: the LightningModule.
        data: loaders or a datamodule; None where the module has its own.
        options: of its Trainer.
        trainer: one of the user's; None where it is made here.
    """

    module: Any
    data: Any
    options: Mapping[str, Any]
    trainer: Any = None

    def loaders(self, stage: str) -> tuple[Any, ...]:
        """What a Trainer's ``fit`` or ``test`` takes behind the module; of (train, validation, test), its part."""
        if isinstance(self.data, tuple):
            return self.data[:2] if stage == "fit" else self.data[2:3]
        is_module = hasattr(self.data, "test_dataloader") and hasattr(self.data, "prepare_data")
        return (self.data,) if self.data is not None and (stage == "fit" or is_module) else ()


def built(build: Build, params: Mapping[str, Any], *, data: Any, options: Mapping[str, Any]) -> Built:
    """What ``build`` gives for the parameters, told apart.

    Raises:
        StudyRefused: it is of another form.
    """
    given = build(dict(params))
    module, *rest = given if isinstance(given, tuple) else (given,)
    if lightning_of(module) is None or len(rest) > 2:
        raise StudyRefused(f"`build` gave {_kinds(given)}, wanted {GIVEN}.")
    data = rest[0] if rest and rest[0] is not None else data
    last = rest[1] if len(rest) == 2 else {}
    if lightning_of(last, "Trainer") is not None:
        return Built(module, data, {}, last)
    if not isinstance(last, Mapping):
        raise StudyRefused(f"`build` gave {_kinds(given)}, wanted {GIVEN}.")
    # a callback shared by trials would carry what it counted from one into the next
    return Built(module, data, {**copy.deepcopy(dict(options)), **last})


def trainer_for(one: Built, home: Path, *, monitor: str, mode: Mode, callback: Any) -> Any:
    """A Trainer of the module's own namespace, or the user's, with a callback of ours in it, if there is one.

    Raises:
        StudyRefused: its ranks would be scripts of their own.
    """
    trainer = _made(one, home, monitor=monitor, mode=mode) if one.trainer is None else one.trainer
    if ranks_run_the_script(trainer):
        raise StudyRefused(f"the Trainer's strategy is {type(trainer.strategy).__name__} with scripts: {SCRIPTS}.")
    if callback is not None:
        _put_before_checkpoints(trainer, callback)
    return trainer


def check_one_process() -> None:
    """Refuse to search in a rank of a run of several scripts.

    Raises:
        StudyRefused: the environment says that this is one.
    """
    found = [f"{name}={os.environ[name]}" for name in ("LOCAL_RANK", "WORLD_SIZE") if name in os.environ]
    if "LOCAL_RANK" in os.environ or os.environ.get("WORLD_SIZE", "1") != "1":
        raise StudyRefused(f"`tune` was called in one rank of several ({', '.join(found)}), as by torchrun: {SCRIPTS}.")


def _made(one: Built, home: Path, *, monitor: str, mode: Mode) -> Any:
    lightning = lightning_of(one.module)
    options = {**QUIET, "default_root_dir": home, **one.options}
    callbacks = options.pop("callbacks", None) or []
    callbacks = [*callbacks] if isinstance(callbacks, list | tuple) else [callbacks]
    if options.get("logger", True) is True:
        make = lightning.loggers.TensorBoardLogger
        options["logger"] = make(home.parent, name=home.name, version="", default_hp_metric=False)
    if options.get("enable_checkpointing", True) and not any(_watches(one, monitor) for one in callbacks):
        callbacks.append(best_checkpoint(lightning, home / "checkpoints", monitor=monitor, mode=mode))
    return lightning.Trainer(callbacks=callbacks, **options)


def _watches(callback: Any, monitor: str) -> bool:
    return hasattr(callback, "best_model_path") and getattr(callback, "monitor", None) == monitor


def _put_before_checkpoints(trainer: Any, callback: Any) -> None:
    """In the order that Lightning keeps."""
    kept = trainer.checkpoint_callbacks
    trainer.callbacks.insert(trainer.callbacks.index(kept[0]) if kept else len(trainer.callbacks), callback)


def _kinds(given: Any) -> str:
    if isinstance(given, tuple):
        return f"({', '.join(type(one).__name__ for one in given)})"
    return type(given).__name__
