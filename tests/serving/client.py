"""Requests to an application in this process, and raw HTTP over a socket."""

import asyncio
import contextlib
import json

from lightning_posttrain.serving.app import application
from lightning_posttrain.serving.limits import Limits
from lightning_posttrain.serving.service import Service


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {name.decode().lower(): value.decode() for name, value in headers}

    @property
    def json(self):
        def no_number(name):
            raise AssertionError(f"{name} is no JSON")

        return json.loads(self.body, parse_constant=no_number)


def messages(parts):
    for part in parts:
        yield {"type": "http.request", "body": part, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def asked(app, body=b"", *, path="/predict", method="POST", headers=(), parts=None, gone=None, delay=0.0):
    """What an ASGI application answers; `gone` is an event after which the client is."""
    waiting, sent = messages(parts or [body]), []

    async def receive():
        if delay:
            await asyncio.sleep(delay)
        if gone is not None and gone.is_set():
            return {"type": "http.disconnect"}
        return next(waiting, None) or await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"here"), *((k.lower().encode(), v.encode()) for k, v in headers)],
        "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    with contextlib.suppress(asyncio.TimeoutError):
        await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], sent[0]["headers"], body)


class Client:
    """Asks an application of its own, each time in a loop of its own."""

    def __init__(self, predictor, *, key=None, watch=None, **limits):
        self.service = Service(predictor, Limits(**limits), watch)
        self.app = application(self.service, key=key)

    def ask(self, body=b"", **options):
        if not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
        return asyncio.run(asked(self.app, bytes(body), **options))

    def get(self, path, **options):
        return self.ask(path=path, method="GET", **options)
