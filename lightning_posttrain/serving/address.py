"""The address that a server listens at, taken before anything else is done."""

from __future__ import annotations

import ipaddress
import socket

from lightning_posttrain.serving.refusal import CannotServeError

KEY = "LIGHTNING_POSTTRAIN_KEY"
"""Environment variable of the key that clients send."""


def listening(host: str, port: int, key: str | None) -> socket.socket:
    """A socket that is bound, and does not listen yet.

    Args:
        host: a name or an address of this machine.
        port: 0 for a free one.
        key: that clients send; without one only this machine may ask.

    Raises:
        CannotServeError: the host is none of this machine, the port is taken or not allowed, or the host can be reached
            from elsewhere and there is no key; or no header can hold the key.
    """
    if key is not None:
        _check_key(key)
    if not 0 <= port <= 65535:
        raise CannotServeError(f"`port` is {port}, wanted 0 (any free one) to 65535.")
    family, address = _resolved(host, port)
    if not key and not ipaddress.ip_address(address[0].split("%")[0]).is_loopback:
        raise CannotServeError(
            f"`host` is {host!r}, which others can reach, and there is no key. Set the environment variable {KEY} to a "
            f"long random text, which clients send as X-API-Key, or serve at 127.0.0.1."
        )
    return _bound(family, address, host)


def _check_key(key: str) -> None:
    if not key or key != key.strip() or not key.isprintable():
        raise CannotServeError(
            f"The key in {KEY} is empty, or has a space at an end, a line break or a control character, and no header "
            "of HTTP brings these. Set it to a long text of letters and digits."
        )


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotServeError(f"`host` is {host!r}, which cannot be resolved: {error}. Try 127.0.0.1.") from None
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]


def _bound(family: socket.AddressFamily, address: tuple[str, int], host: str) -> socket.socket:
    # with the protocol said, or asyncio sets no TCP_NODELAY, and each answer waits 40 ms for an acknowledgement
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        # a port that another process has only bound is found here, one that it listens at in `bind`
        taken.listen(0)
    except OSError as error:
        taken.close()
        reason = error.strerror or str(error)
        raise CannotServeError(f"{host}:{address[1]} cannot be served: {reason}. Choose another port, or 0.") from None
    return taken


def url(taken: socket.socket) -> str:
    """Where clients reach it."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
