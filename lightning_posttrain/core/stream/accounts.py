"""Adds up the seconds of actions, each moment for the innermost that is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, final

NOWHERE = ""
"""The action of the seconds outside of all brackets."""


@final
@dataclass(slots=True)
class Account:
    """What an action took.

    Args:
        seconds: its own, those of actions inside it taken off.
        calls: how many there were.
    """

    seconds: float = 0.0
    calls: int = 0


class Seconds(NamedTuple):
    """Of a run.

    Args:
        wall: seconds since it began.
        accounts: by the name of the action; they add up to ``wall``.
    """

    wall: float
    accounts: Mapping[str, Account]


@final
class Accounts:
    """Accounts of one thread, which begin at zero.

    Args:
        now: seconds, from any moment on.

    Example:
        >>> seconds = iter(range(10))
        >>> accounts = Accounts(lambda: next(seconds))
        >>> with accounts.bracket("outer"):
        ...     with accounts.bracket("inner"):
        ...         pass
        >>> {name: account.seconds for name, account in accounts.read().accounts.items()}
        {'': 2.0, 'outer': 2.0, 'inner': 1.0}
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.begin()

    def begin(self) -> None:
        """Begin at zero."""
        self._at = Account(calls=1)
        self._accounts = {NOWHERE: self._at}
        self._began = self._since = self._now()

    def bracket(self, action: str) -> Bracket:
        """An action that lasts as long as a ``with`` statement."""
        return Bracket(self, action)

    def enter(self, action: str) -> Account:
        """Begin an action; gives the one around it."""
        now = self._now()
        outer = self._at
        outer.seconds += now - self._since
        account = self._accounts.get(action)
        if account is None:
            account = self._accounts[action] = Account()
        account.calls += 1
        self._at = account
        self._since = now
        return outer

    def leave(self, outer: Account) -> None:
        """Go back to the action around the one that ends."""
        now = self._now()
        self._at.seconds += now - self._since
        self._at = outer
        self._since = now

    def wall(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._began

    def read(self) -> Seconds:
        """What each action took until this moment."""
        now = self._now()
        self._at.seconds += now - self._since
        self._since = now
        copies = {name: Account(one.seconds, one.calls) for name, one in self._accounts.items()}
        return Seconds(now - self._began, copies)


@final
class Bracket:
    """An action that lasts as long as a ``with`` statement.

    Args:
        accounts: get its seconds.
        action: its name.
    """

    __slots__ = ("_accounts", "_action", "_outer")

    def __init__(self, accounts: Accounts, action: str) -> None:
        self._accounts = accounts
        self._action = action

    def __enter__(self) -> str:
        self._outer = self._accounts.enter(self._action)
        return self._action

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._accounts.leave(self._outer)
