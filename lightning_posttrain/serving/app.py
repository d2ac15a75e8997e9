"""The routes of a server: an ASGI application."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lightning_posttrain.serving.deadline import Deadlines
from lightning_posttrain.serving.metrics import MEDIA_TYPE
from lightning_posttrain.serving.openapi import document
from lightning_posttrain.serving.page import page
from lightning_posttrain.serving.refusal import ClientGoneError, RefusedError
from lightning_posttrain.serving.service import Service

_logger = logging.getLogger(__name__)
PREDICT = "/predict"
CLIENT_GONE = 499
"""Status, for the metrics alone, of a request whose client has closed its connection."""
DIGITS = 18
"""Of a length that is read as a number."""
Headers = Mapping[bytes, bytes]
Endpoint = Callable[[Request], Awaitable[Response]]
_encoded = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def application(service: Service, *, key: str | None = None) -> ASGIApp:
    """The routes of a service.

    Args:
        service: what answers.
        key: that clients send as ``X-API-Key``, or None for no key. ``/health`` and ``/ready`` need none.
    """
    predict = _Predict(service, key)
    routes = [Route(PREDICT, predict, methods=["POST"])]
    for path, content in _contents(service, key).items():
        routes.append(Route(path, _reading(content, None if path in ("/health", "/ready") else key)))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route, Exception: _our_fault})
    app.router.redirect_slashes = False
    return _Shortcut(predict, app)


@final
class _Shortcut:
    """Goes past the routing for ``/predict``: that takes as long as reading the body."""

    def __init__(self, predict: ASGIApp, others: ASGIApp) -> None:
        self._predict, self._others = predict, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = scope["type"] == "http" and scope["path"] == PREDICT and scope["method"] == "POST"
        await (self._predict if asks else self._others)(scope, receive, send)


@final
class _Predict:
    """Answers a request to ``/predict``.

    Args:
        service: what answers.
        key: that clients send, or None.
    """

    def __init__(self, service: Service, key: str | None) -> None:
        self._service, self._key = service, key
        self._deadlines = Deadlines(service.limits.seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, begin = self._service.metrics, time.perf_counter()
        metrics.accepted += 1
        try:
            response = await _predicted(self._service, scope, receive, self._key, self._deadlines)
        except Exception:
            _logger.exception("A request failed")
            response = await _our_fault(None, None)
        metrics.request(response.status_code, time.perf_counter() - begin)
        await response(scope, receive, send)


async def _predicted(
    service: Service, scope: Scope, receive: Receive, key: str | None, deadlines: Deadlines
) -> Response:
    part = "body"
    try:
        headers = dict(scope["headers"])
        _check_head(headers, key)
        _check_announced(headers, service.limits.body_bytes)
        with deadlines.one():
            body = await _body(receive, service)
            part = "answer"
            status, content = await service.answer(body, lambda: has_gone(receive))
    except RefusedError as refused:
        return _refusal(refused)
    except ClientGoneError:
        return Response(status_code=CLIENT_GONE)
    except TimeoutError:
        return _refusal(_late(part, service.limits.seconds))
    return _json(content, status)


def _late(part: str, seconds: float) -> RefusedError:
    if part == "body":
        return RefusedError(408, f"The body did not come within {seconds:g} seconds.", unread=True)
    return RefusedError(504, f"There was no answer within {seconds:g} seconds. Send fewer rows, or later.")


async def _body(receive: Receive, service: Service) -> bytes:
    """The body, given up as soon as it is too long: a length that is announced may be a lie."""
    limits, batcher, parts = service.limits, service.batcher, bytearray()
    try:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            parts += chunk
            batcher.waiting_bytes += len(chunk)
            if len(parts) > limits.body_bytes:
                raise RefusedError(413, f"The body has more than {limits.body_bytes} bytes.", unread=True)
            if batcher.waiting_bytes > limits.waiting_bytes:
                raise RefusedError(503, "Too much waits. Send it again later.", retry=1, unread=True)
    finally:
        batcher.waiting_bytes -= len(parts)
    return bytes(parts)


def has_gone(receive: Receive) -> bool:
    """Whether a client has closed its connection: one look, which waits for nothing."""
    looking = receive().__await__()
    try:
        next(looking)
    except StopIteration as message:
        return bool(message.value["type"] == "http.disconnect")
    finally:
        looking.close()
    return False


def _contents(service: Service, key: str | None) -> dict[str, Callable[[], Response]]:
    """By path, what is read there."""
    openapi = _encoded(document(service.manifest, service.limits, with_key=key is not None))

    def ready() -> Response:
        return _json({"ready": service.ready}, 200 if service.ready else 503)

    return {
        "/": lambda: HTMLResponse(page(service)),
        "/health": lambda: _json({"alive": True}),
        "/ready": ready,
        "/info": lambda: _json(service.info()),
        "/metrics": lambda: Response(service.metrics_text(), media_type=MEDIA_TYPE),
        "/openapi.json": lambda: Response(openapi, media_type="application/json"),
    }


def _reading(content: Callable[[], Response], key: str | None) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            _check_head(dict(request.scope["headers"]), key)
        except RefusedError as refused:
            return _refusal(refused)
        return content()

    return endpoint


def _check_head(headers: Headers, key: str | None) -> None:
    if _is_ambiguous(headers):
        reason = "The request has both Content-Length and Transfer-Encoding, wanted one of them."
        raise RefusedError(400, reason, unread=True)
    if key is not None:
        given = headers.get(b"x-api-key", b"")
        if not secrets.compare_digest(given, key.encode()):
            found = "is another" if given else "is missing"
            raise RefusedError(401, f"The header X-API-Key {found}, wanted the server's key.", unread=True)


def _is_ambiguous(headers: Headers) -> bool:
    """Whether a proxy may see another end of the body, and so take a request that follows for a part of it."""
    return b"transfer-encoding" in headers and b"content-length" in headers


def _check_announced(headers: Headers, most: int) -> None:
    """Refuse a body before it is sent; what is announced as shorter is counted as it comes."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and (len(announced) > DIGITS or int(announced) > most):
        raise RefusedError(413, f"The body has more than {most} bytes.", unread=True)


def _json(content: Any, status: int = 200) -> Response:
    return Response(_encoded(content), status, media_type="application/json")


def _refusal(refused: RefusedError) -> Response:
    content = _encoded({"error": refused.reason})
    return Response(content, refused.status, headers=refused.headers, media_type="application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, another method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if _is_ambiguous(dict(request.scope["headers"])):
        headers["Connection"] = "close"
    reasons = {404: f"There is no {request.url.path}.", 405: f"{request.url.path} does not take {request.method}."}
    content = {"error": reasons.get(status, "The request cannot be answered.")}
    return Response(_encoded(content), status, headers=headers, media_type="application/json")


async def _our_fault(_request: Request | None, _error: Exception | None) -> Response:
    return _json({"error": "The server failed on this request. Its log says more."}, 500)
