"""The routes of a server: an ASGI application."""

from __future__ import annotations

import html
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive

from lightning_posttrain.serving.deadline import Deadline
from lightning_posttrain.serving.metrics import MEDIA_TYPE
from lightning_posttrain.serving.openapi import document
from lightning_posttrain.serving.refusal import ClientGoneError, RefusedError
from lightning_posttrain.serving.service import Service

CLIENT_GONE = 499
"""Status, for the metrics alone, of a request whose client has closed its connection."""
DIGITS = 18
"""Of a length that is read as a number."""
PAGE = """<!doctype html><meta charset="utf-8"><title>{name}</title><h1>{name}</h1>
<p>An exported model, {version}. Send rows with POST to <code>/predict</code>: {row}
<p>{pictures}
<ul><li><a href="info">info</a>: what it is<li><a href="openapi.json">openapi.json</a>: how to ask
<li><a href="metrics">metrics</a>: for Prometheus<li><a href="health">health</a>, <a href="ready">ready</a></ul>
"""
Endpoint = Callable[[Request], Awaitable[Response]]
_encoded = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def application(service: Service, *, key: str | None = None) -> Starlette:
    """The routes of a service.

    Args:
        service: what answers.
        key: that clients send as ``X-API-Key``, or None for no key. ``/health`` and ``/ready`` need none.
    """

    async def predict(request: Request) -> Response:
        begin = time.perf_counter()
        service.metrics.accepted += 1
        response = await _predicted(service, request, key)
        service.metrics.request(response.status_code, time.perf_counter() - begin)
        return response

    routes = [Route("/predict", predict, methods=["POST"])]
    for path, content in _contents(service, key).items():
        routes.append(Route(path, _reading(content, None if path in ("/health", "/ready") else key)))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route, Exception: _our_fault})
    app.router.redirect_slashes = False
    return app


async def _predicted(service: Service, request: Request, key: str | None) -> Response:
    part = "body"
    try:
        _check_head(request, key)
        _check_announced(request, service.limits.body_bytes)
        with Deadline(service.limits.seconds):
            body = await _body(request, service)
            part = "answer"
            status, content = await service.answer(body, lambda: has_gone(request.receive))
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


async def _body(request: Request, service: Service) -> bytes:
    """The body, given up as soon as it is too long: a length that is announced may be a lie."""
    limits, batcher, parts = service.limits, service.batcher, bytearray()
    try:
        more = True
        while more:
            message = await request.receive()
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
        "/": lambda: HTMLResponse(_page(service)),
        "/health": lambda: _json({"alive": True}),
        "/ready": ready,
        "/info": lambda: _json(service.info()),
        "/metrics": lambda: Response(service.metrics_text(), media_type=MEDIA_TYPE),
        "/openapi.json": lambda: Response(openapi, media_type="application/json"),
    }


def _reading(content: Callable[[], Response], key: str | None) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            _check_head(request, key)
        except RefusedError as refused:
            return _refusal(refused)
        return content()

    return endpoint


def _check_head(request: Request, key: str | None) -> None:
    if _is_ambiguous(request):
        reason = "The request has both Content-Length and Transfer-Encoding, wanted one of them."
        raise RefusedError(400, reason, unread=True)
    if key is not None:
        given = request.headers.get("x-api-key", "").encode("latin-1")
        if not secrets.compare_digest(given, key.encode()):
            found = "is another" if given else "is missing"
            raise RefusedError(401, f"The header X-API-Key {found}, wanted the server's key.", unread=True)


def _is_ambiguous(request: Request) -> bool:
    """Whether a proxy may see another end of the body, and so take a request that follows for a part of it."""
    return "transfer-encoding" in request.headers and "content-length" in request.headers


def _check_announced(request: Request, most: int) -> None:
    """Refuse a body before it is sent; what is announced as shorter is counted as it comes."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > DIGITS or int(announced) > most):
        raise RefusedError(413, f"The body has more than {most} bytes.", unread=True)


def _page(service: Service) -> str:
    info = service.info()["server"]
    row = '<code>{"rows": [...]}</code>, each of ' + html.escape(
        ", ".join(s.words for s in service.manifest.signature.inputs)
    )
    pictures = f"Pictures: {html.escape(info['pictures'])}."
    return PAGE.format(name=html.escape(service.manifest.name), version=info["version"], row=row, pictures=pictures)


def _json(content: Any, status: int = 200) -> Response:
    return Response(_encoded(content), status, media_type="application/json")


def _refusal(refused: RefusedError) -> Response:
    content = _encoded({"error": refused.reason})
    return Response(content, refused.status, headers=refused.headers, media_type="application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, another method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if _is_ambiguous(request):
        headers["Connection"] = "close"
    reasons = {404: f"There is no {request.url.path}.", 405: f"{request.url.path} does not take {request.method}."}
    content = {"error": reasons.get(status, "The request cannot be answered.")}
    return Response(_encoded(content), status, headers=headers, media_type="application/json")


async def _our_fault(_request: Request, _error: Exception) -> Response:
    return _json({"error": "The server failed on this request. Its log says more."}, 500)
