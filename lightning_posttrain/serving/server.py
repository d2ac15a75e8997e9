"""One process that serves until it is told to end, and answers all that it has accepted."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import final

import uvicorn

from lightning_posttrain.serving.address import listening, url
from lightning_posttrain.serving.answering import Answering, Watch
from lightning_posttrain.serving.app import application
from lightning_posttrain.serving.limits import Limits, body_bytes_for
from lightning_posttrain.serving.refusal import CannotServeError
from lightning_posttrain.serving.service import Service

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FINISHING = 1.0
"""Seconds beyond those of a request, in which the last responses are sent."""
Say = Callable[[str], None]


@final
class _Server(uvicorn.Server):
    """Uvicorn with the signals left to us: its own handling ends the process by the signal, not with exit code 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    predictor: Answering,
    *,
    say: Say,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    grace: float = 0.0,
    limits: Limits | None = None,
    watch: Watch | None = None,
) -> int:
    """Serve a model until SIGTERM or SIGINT.

    At the first signal ``/ready`` says no; after ``grace`` seconds no more connections are taken, what was accepted is
    answered, and the process ends. A second signal cuts the grace short.

    Args:
        predictor: the model.
        say: is told, in a line each, where the server answers and how it ended.
        host: a name or an address of this machine; others than loopback need a key.
        port: 0 for a free one.
        key: that clients send as ``X-API-Key``.
        grace: seconds in which balancers notice that it is not ready; what they send meanwhile is answered.
        limits: of requests and of the queue.
        watch: over the answers.

    Returns:
        0, or 1 where a request could not be answered before the end.

    Raises:
        CannotServeError: the address cannot be served, or the model fails on zeros.
    """
    if grace < 0:
        raise CannotServeError(f"`grace` is {grace}, wanted 0 seconds or more.")
    limits = limits or Limits(body_bytes=body_bytes_for(predictor.signature))
    with listening(host, port, key) as taken:
        service = Service(predictor, limits, watch)
        code: int = import_module(_loops()).run(_served(service, taken, key=key, grace=grace, say=say))
        return code


def _loops() -> str:
    """Whose event loop runs: that of uvloop, where it is installed, takes a fifth less time of the processor."""
    return "uvloop" if find_spec("uvloop") else "asyncio"


async def _served(service: Service, taken: socket.socket, *, key: str | None, grace: float, say: Say) -> int:
    server = _Server(_config(service, key))
    with _drained_by_signals(service, server, grace):
        serving = asyncio.create_task(server.serve(sockets=[taken]))
        address = url(taken)
        try:
            await service.warm_up()
        except Exception as error:  # a model may raise anything
            raise CannotServeError(f"The model fails on zeros: {type(error).__name__}: {error}.") from error
        finally:
            if not service.warm:
                server.should_exit = True
                await serving
        say(f"{service.manifest.name} answers at {address}")
        await serving
    metrics = service.metrics
    say(f"Ended: {metrics.answered} of {metrics.accepted} accepted requests answered")
    return int(metrics.accepted != metrics.answered)


def _config(service: Service, key: str | None) -> uvicorn.Config:
    return uvicorn.Config(
        application(service, key=key),
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=int(service.limits.seconds + FINISHING),
    )


@contextmanager
def _drained_by_signals(service: Service, server: uvicorn.Server, grace: float) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def drain() -> None:
        if service.draining:
            end()
        service.draining = True
        loop.call_later(grace, end)

    before = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(drain)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
