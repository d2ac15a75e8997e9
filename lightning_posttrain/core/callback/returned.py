"""Brings what callbacks know home from the processes that a Trainer forks or spawns for a run.

Lightning hands the weights back to the main process, and no callback. Its ``TrainerState`` comes back too: what rides
on it is unpickled there. It is one path: a pipe that is read when the processes have ended takes no more.
"""

from __future__ import annotations

import pickle
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from lightning.pytorch import Trainer

_alive: WeakValueDictionary[str, Returns] = WeakValueDictionary()


class Returns:
    """For a callback that shall know in the main process what it found in another."""

    stays: ClassVar[tuple[str, ...]] = ()
    """Attributes that do not go home, as callbacks that go by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._home = secrets.token_hex(8)
        _alive[self._home] = self

    def go_home(self, trainer: Trainer) -> None:
        """Let what it knows at the end of a run be known in the main process, where the run is in another one."""
        launcher = getattr(trainer.strategy, "launcher", None)
        if trainer.is_global_zero and hasattr(launcher, "_start_method"):
            state = vars(trainer.state)
            luggage = state["lightning_posttrain"] = state.get("lightning_posttrain") or Luggage()
            luggage.callbacks.append(self)


class Luggage:
    """What callbacks know; pickled as the path of a file in a folder that is its owner's alone."""

    def __init__(self) -> None:
        self.callbacks: list[Returns] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Luggage:
        return self

    def __reduce__(self) -> Any:
        found = {callback._home: _pickled(callback) for callback in self.callbacks}
        path = Path(tempfile.mkdtemp()) / "callbacks"
        path.write_bytes(pickle.dumps(found))
        return unpacked, (str(path),)


def unpacked(path: str) -> None:
    """Give callbacks what they know."""
    found: dict[str, dict[str, bytes]] = pickle.loads(Path(path).read_bytes())
    shutil.rmtree(Path(path).parent, ignore_errors=True)
    for home, state in found.items():
        callback = _alive.get(home)
        if callback is not None:
            vars(callback).update({name: pickle.loads(value) for name, value in state.items()})


def _pickled(callback: Returns) -> dict[str, bytes]:
    """Each attribute by itself, without those that cannot be, as a user's lambda, and are as they were."""
    found = {}
    for name, value in vars(callback).items():
        if name in callback.stays:
            continue
        try:
            found[name] = pickle.dumps(value)
        except (pickle.PicklingError, AttributeError, TypeError):
            continue
    return found
