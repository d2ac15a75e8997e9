"""One clock for all profiles of a Trainer, however many ask for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.profile.clock.clock import Clock


@dataclass(frozen=True, eq=False)
class _Shared:
    clock: Clock
    users: WeakSet[Any] = field(default_factory=WeakSet)


_of: WeakKeyDictionary[Any, _Shared] = WeakKeyDictionary()


def taken(trainer: Any, user: object) -> Clock:
    """The clock of a run, which begins at zero with the first who takes it.

    Two clocks on one profiler would count what each other's owner measures, and would leave it in the wrong order.

    Args:
        trainer: of the run.
        user: who gives it back with ``left``, or takes it again for a run that begins anew.
    """
    shared = _of.get(trainer)
    if shared is None or not shared.users or user in shared.users:
        if shared is not None:
            shared.clock.give_back()
        shared = _of[trainer] = _Shared(Clock())
        shared.clock.place(trainer.profiler)
        EvaluationStream.of(trainer).book(shared.clock.bracket)
    shared.users.add(user)
    return shared.clock


def left(trainer: Any, user: object) -> None:
    """Need the clock no more; with the last the profiler is as it was."""
    shared = _of.get(trainer)
    if shared is not None and user in shared.users:
        shared.users.discard(user)
        if not shared.users:
            shared.clock.give_back()
            EvaluationStream.of(trainer).book(None)
