"""What the callbacks of a run take of it, each by itself: on the main thread, beside it, and on the device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from threading import Lock
from typing import Any, final

import torch

from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.overhead import Spending
from lightning_posttrain.core.stream.accounts import Accounts, Bracket
from lightning_posttrain.core.stream.booking import CALLBACK, READING
from lightning_posttrain.core.stream.budget import Budget
from lightning_posttrain.core.stream.device_seconds import DeviceSeconds

EXPLAINING = ".explain"
"""How the names of actions end in which samples are explained."""
WAITING = "lightning_posttrain: waiting for pictures"
SHARED, WAITED = "reading of batches, once for all", "waiting for what is drawn"


@final
class Costs:
    """Of one run, from its beginning.

    Args:
        device: of the run.
        now: seconds, from any moment on.
        cpu: seconds of a CPU that the present thread took.

    Attributes:
        budget: whether there is room for optional work.
    """

    def __init__(
        self,
        device: torch.device,
        now: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.budget = Budget()
        self._now, self._cpu = now, cpu
        self._main = Accounts(now)
        self._device = DeviceSeconds(device)
        self._beside: dict[str, float] = {}
        self._lock = Lock()

    def bracket(self, action: str) -> Bracket:
        """An action of the main thread."""
        return self._main.bracket(action)

    def on_device(self, action: str) -> contextlib.AbstractContextManager[Any]:
        """An action that gives the device work; not inside another one."""
        return self._device.bracket(action)

    @contextlib.contextmanager
    def explaining(self, owner: str, share: float | None) -> Iterator[None]:
        """Samples are explained on the main thread, for a callback that keeps to a share of the run."""
        began = self._now()
        with self.bracket(owner + EXPLAINING), self.on_device(owner + EXPLAINING):
            yield
        self.budget.charge(share, owner + EXPLAINING, self._now() - began)

    @contextlib.contextmanager
    def waiting(self, share: float | None, tag: str) -> Iterator[None]:
        """The main thread may wait for what is drawn under a tag, which is no part of the run without it either."""
        began = self._now()
        with self.bracket(WAITING):
            yield
        self.budget.charge(share, f"waiting for {tag}", self._now() - began)

    def beside(
        self, job: Callable[[], list[Remark]], owner: str, share: float | None, tag: str
    ) -> Callable[[], list[Remark]]:
        """A job for the background, whose seconds of a CPU are counted.

        Args:
            job: to be done.
            owner: the action of the callback whose it is.
            share: of the run that it keeps to.
            tag: of what it writes.
        """
        return partial(self._timed, job, owner, share, tag)

    def _timed(self, job: Callable[[], list[Remark]], owner: str, share: float | None, tag: str) -> list[Remark]:
        began = self._cpu()
        try:
            return job()
        finally:
            seconds = self._cpu() - began
            self.budget.charge(share, tag, seconds)
            with self._lock:
                self._beside[owner] = self._beside.get(owner, 0.0) + seconds

    def elapsed(self) -> float:
        """Seconds of the run without those in which samples were explained, or pictures waited for."""
        wall, accounts = self._main.read()
        return wall - sum(one.seconds for action, one in accounts.items() if action.endswith((EXPLAINING, WAITING)))

    def read(self, names: Iterable[tuple[str, str]]) -> tuple[float, tuple[Spending, ...]]:
        """Seconds of the run, and what each callback took of them, the most first.

        Args:
            names: actions of callbacks, and how these are called.
        """
        wall, accounts = self._main.read()
        main = _by_owner({action: account.seconds for action, account in accounts.items()})
        seconds = self._device.read()
        device = None if seconds is None else _by_owner(seconds)
        with self._lock:
            beside = dict(self._beside)
        rows = []
        for owner, name in {READING: SHARED, WAITING: WAITED, **dict(names)}.items():
            host = main.get(owner, 0.0)
            work = None if device is None else device.get(owner, 0.0)
            rows.append(Spending(name, host, host / wall, beside.get(owner, 0.0), work))
        return wall, tuple(sorted(rows, key=lambda row: -row.main))


def _by_owner(seconds: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for action, one in seconds.items():
        found[owner_of(action)] = found.get(owner_of(action), 0.0) + one
    return found


def owner_of(action: str) -> str:
    """What an action is part of: that of its callback, as ``"[Callback]X{}"`` of ``"[Callback]X{}.observe"``."""
    return action.rpartition(".")[0] if action.startswith(CALLBACK) and "." in action else action
