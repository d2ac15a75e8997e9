"""Servers in processes of their own, and raw HTTP with them."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPEN = []


class Running:
    """A server in a process of its own."""

    def __init__(self, model="digits", *, key=None, **options):
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if key:
            environment["KEY"] = key
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.serving.run_server", model, *arguments],
            env=environment, cwd=ROOT, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert "answers at" in line, self.process.stderr.read()
        self.port = int(re.search(r":(\d+)$", line.strip()).group(1))

    def end(self, seconds=60):
        """Exit code, requests accepted and answered, and what was written to stderr, after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended(seconds)

    def ended(self, seconds=60):
        out, err = self.process.communicate(timeout=seconds)
        answered, accepted = map(int, re.search(r"Ended: (\d+) of (\d+) accepted requests answered", out).groups())
        return self.process.returncode, accepted, answered, err

    def processes(self):
        """Of its session, by the kernel's own list."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append(stat.parent.name)
        return found

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Connection:
    """HTTP over one socket, request after request."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port):
        made = cls(*await asyncio.open_connection("127.0.0.1", port))
        OPEN.append(made.writer)
        return made

    def send(self, body, path="/predict", method="POST", headers=()):
        head = [f"{method} {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *headers]
        self.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def answer(self, begun=b""):
        head = begun + await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.I).group(1))
        body = await self.reader.readexactly(length)
        return int(head.split(None, 2)[1]), json.loads(body) if body[:1] in (b"{", b"[") else body.decode()

    async def ask(self, body=b"", **options):
        self.send(body, **options)
        return await self.answer()

    async def closed(self):
        """Whether the server closes the connection within seconds."""
        begin = time.monotonic()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 10) is not None and time.monotonic() - begin < 9
        return True


def run(work):
    """What a coroutine gives; its connections are closed behind it."""

    async def closing():
        try:
            return await work
        finally:
            while OPEN:
                writer = OPEN.pop()
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    return asyncio.run(closing())
