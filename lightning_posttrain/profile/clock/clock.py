"""Adds up the seconds of whatever Lightning brackets, beside the profiler that is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, final

from lightning_posttrain.core.stream.accounts import Account, Accounts, Bracket, Seconds

SILENT = frozenset({"PassThroughProfiler"})
"""Classes, of either Lightning namespace, of profilers that do nothing."""
METHODS = frozenset({"profile", "start", "stop"})
"""What a profiler is told by."""


@final
class Clock:
    """Adds up the seconds of each action in ``trainer.profiler.profile(name)``, without being the profiler.

    Lightning brackets every hook, step and fetch of a batch so, whether or not a profiler was asked for. The clock
    stands before the methods of the profiler object, by attributes of the instance that are taken away at the end: a
    profiler that the user chose keeps its records as ever, and one that does nothing is not called. Each moment counts
    for the innermost action that is open, so that the sum over all actions is the time since ``place``, whatever
    raises and whatever is left open. What a callback has the Trainer do inside a hook, as the steps of a search for
    a learning rate, counts as what it is; what another Trainer does inside a hook counts for the hook.

    These are seconds of the host: where a device works on its own, a wait is seen where it is waited. Actions of other
    threads have no place in it.

    Args:
        now: seconds, from any moment on.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._accounts = Accounts(now)
        self._profiler: Any = None
        self._put: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._accounts.begin()
        self._open: dict[str, Account] = {}
        self._final: Seconds | None = None

    # brackets

    def bracket(self, name: str) -> Bracket:
        """An action of ours, of which a profiler that the user chose hears nothing."""
        return Bracket(self._accounts, name)

    def start(self, name: str) -> None:
        """Begin an action that ``stop`` ends."""
        self._open[name] = self._accounts.enter(name)

    def stop(self, name: str) -> None:
        """End an action that was started, if it was."""
        outer = self._open.pop(name, None)
        if outer is not None:
            self._accounts.leave(outer)

    # the place before a profiler

    def place(self, profiler: Any) -> None:
        """Begin at zero, and hear what a profiler is told; all else about the profiler stays as it is."""
        self.give_back()
        self._start_afresh()
        found, put = vars(profiler), self._in_front_of(profiler)
        self._before = {name: found[name] for name in put if name in found}
        self._profiler, self._put = profiler, put
        found.update(put)

    def _in_front_of(self, profiler: Any) -> dict[str, Any]:
        """Methods for a profiler, which hand on to its own where these do anything."""
        if type(profiler).__name__ in SILENT and not vars(profiler).keys() & METHODS:
            return {"profile": partial(Bracket, self._accounts), "start": self.start, "stop": self.stop}
        both = {"start": partial(_start_both, self, profiler.start), "stop": partial(_stop_both, self, profiler.stop)}
        if _brackets_by_start_and_stop(profiler):
            return both
        return {**both, "profile": partial(_BothBrackets, self, profiler.profile)}

    def give_back(self) -> None:
        """Leave the profiler as it was found; the figures stay as they are at this moment."""
        if self._profiler is None:
            return
        self._final = self.read()
        found = vars(self._profiler)
        for name in [name for name, ours in self._put.items() if found.get(name) is ours]:
            # one that is not ours is of another clock that came later, and hands on to ours
            del found[name]
            found.update({name: self._before[name]} if name in self._before else {})
        self._profiler, self._put, self._before = None, {}, {}

    def read(self) -> Seconds:
        """What each action took until this moment, or until ``give_back``."""
        if self._final is not None:
            return self._final
        return self._accounts.read()


def _brackets_by_start_and_stop(profiler: Any) -> bool:
    """Whether ``profile`` is Lightning's own, which calls ``start`` and ``stop``, and is nobody else's."""
    profile = getattr(type(profiler), "profile", None)
    return getattr(profile, "__module__", "").endswith("profilers.profiler") and "profile" not in vars(profiler)


def _start_both(clock: Clock, start: Callable[[str], Any], name: str) -> None:
    clock.start(name)
    start(name)


def _stop_both(clock: Clock, stop: Callable[[str], Any], name: str) -> None:
    try:
        stop(name)
    finally:
        clock.stop(name)


@final
class _BothBrackets:
    """An action of the clock's with that of a profiler inside."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, clock: Clock, profile: Callable[[str], Any], name: str) -> None:
        self._outer = clock.bracket(name)
        self._inner = profile(name)

    def __enter__(self) -> Any:
        self._outer.__enter__()
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> Any:
        try:
            return self._inner.__exit__(*error)
        finally:
            self._outer.__exit__(*error)
