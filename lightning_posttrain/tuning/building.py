"""What ``build`` gives, and the Trainer that a trial runs in."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lightning_posttrain.tuning.refusal import StudyRefused

Build = Callable[[dict[str, Any]], Any]
GIVEN = "a LightningModule, (module, data), (module, data, trainer_kwargs) or (module, data, trainer)"
QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
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
    if not _is(module, "LightningModule") or len(rest) > 2:
        raise StudyRefused(f"`build` gave {_kinds(given)}, wanted {GIVEN}.")
    data = rest[0] if rest and rest[0] is not None else data
    last = rest[1] if len(rest) == 2 else {}
    if _is(last, "Trainer"):
        return Built(module, data, {}, last)
    if not isinstance(last, Mapping):
        raise StudyRefused(f"`build` gave {_kinds(given)}, wanted {GIVEN}.")
    # a callback shared by trials would carry what it counted from one into the next
    return Built(module, data, {**copy.deepcopy(dict(options)), **last})


def trainer_for(one: Built, home: Path, *, monitor: str, mode: str, callback: Any) -> Any:
    """A Trainer of the module's own namespace, or the user's, with a callback of ours in it, if there is one.

    Raises:
        StudyRefused: its ranks would be scripts of their own.
    """
    trainer = _made(one, home, monitor=monitor, mode=mode) if one.trainer is None else one.trainer
    launcher = trainer.strategy.launcher
    if trainer.world_size > 1 and not hasattr(launcher, "_start_method"):
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


def _made(one: Built, home: Path, *, monitor: str, mode: str) -> Any:
    pl = importlib.import_module(_namespace(one.module))
    options = {**QUIET, "default_root_dir": home, **one.options}
    callbacks = options.pop("callbacks", None) or []
    callbacks = [*callbacks] if isinstance(callbacks, list | tuple) else [callbacks]
    if options.get("logger", True) is True:
        loggers = importlib.import_module(f"{pl.__name__}.loggers")
        options["logger"] = loggers.TensorBoardLogger(home.parent, name=home.name, version="", default_hp_metric=False)
    if options.get("enable_checkpointing", True) and not any(_watches(one, monitor) for one in callbacks):
        kind = importlib.import_module(f"{pl.__name__}.callbacks").ModelCheckpoint
        best = kind(home / "checkpoints", filename="best", monitor=monitor, mode=mode, enable_version_counter=False)
        callbacks.append(best)
    return pl.Trainer(callbacks=callbacks, **options)


def _watches(callback: Any, monitor: str) -> bool:
    return _is(callback, "Checkpoint") and getattr(callback, "monitor", None) == monitor


def _put_before_checkpoints(trainer: Any, callback: Any) -> None:
    """In the order that Lightning keeps."""
    places = [place for place, one in enumerate(trainer.callbacks) if _is(one, "Checkpoint")]
    trainer.callbacks.insert(places[0] if places else len(trainer.callbacks), callback)


def _namespace(module: Any) -> str:
    """``pytorch_lightning`` for modules of it, else ``lightning.pytorch``."""
    homes = {
        kind.__module__.split(".")[0] for kind in type(_plain(module)).__mro__ if kind.__name__ == "LightningModule"
    }
    return "pytorch_lightning" if "pytorch_lightning" in homes else "lightning.pytorch"


def _is(one: Any, name: str) -> bool:
    """Whether it is of Lightning's class of this name, in either namespace."""
    return any(
        kind.__name__ == name and kind.__module__.startswith(("lightning.", "pytorch_lightning."))
        for kind in type(_plain(one)).__mro__
    )


def _plain(one: Any) -> Any:
    """What ``torch.compile`` was given."""
    return getattr(one, "_orig_mod", one)


def _kinds(given: Any) -> str:
    if isinstance(given, tuple):
        return f"({', '.join(type(one).__name__ for one in given)})"
    return type(given).__name__
