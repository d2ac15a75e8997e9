"""What is not answered, with the status and the words that the client gets."""

from __future__ import annotations

from typing import final

MOST_LETTERS = 500
"""Of a reason: it may quote what the client sent."""


@final
class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        reason: for the client: what came, what was wanted, what to do.
        retry: after how many seconds it may be sent again, or None.
        unread: whether some of the body may not have been read, so that the connection is of no further use.
    """

    def __init__(self, status: int, reason: str, *, retry: int | None = None, unread: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason = status, shortened(reason)
        self.retry, self.unread = retry, unread

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        retry = {} if self.retry is None else {"Retry-After": str(self.retry)}
        return {**retry, "Connection": "close"} if self.unread else retry


@final
class ClientGoneError(Exception):
    """A client closed its connection before its answer was there."""


@final
class CannotServeError(Exception):
    """Why a server does not begin, for who starts it."""


def shortened(reason: str) -> str:
    """At most ``MOST_LETTERS`` of a reason."""
    return reason if len(reason) <= MOST_LETTERS else f"{reason[:MOST_LETTERS]}…"
