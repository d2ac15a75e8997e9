"""A server in a process of its own: right under load, deaf to nobody, gone when it is told to go."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import uvicorn

import lightning_posttrain.export
from lightning_posttrain.serving import command
from lightning_posttrain.serving.address import listening, url
from lightning_posttrain.serving.refusal import CannotServeError
from lightning_posttrain.serving.server import serve
from tests.serving.models import CLASSES, Digits, Made, of_sums, rows
from tests.serving.running import ROOT, Connection, Running, run

CLIENTS = 32


def bodies_and_answers(count=256):
    """Rows as bodies, with what the model says of each by itself."""
    x = rows(count)
    probabilities, decision = Digits().run({"x": x})
    bodies = [json.dumps({"row": one.tolist()}).encode() for one in x]
    return bodies, [(CLASSES[d], p) for p, d in zip(probabilities, decision, strict=True)]


async def client(port, requests, bodies, answers, seed):
    """Answers that were right."""
    draw, right = random.Random(seed), 0
    connection = await Connection.to(port)
    for _ in range(requests):
        which = draw.randrange(len(bodies))
        status, said = await connection.ask(bodies[which])
        label, probabilities = answers[which]
        assert status == 200
        assert said["label"] == label
        np.testing.assert_allclose(said["probabilities"], probabilities, atol=1e-6)
        right += 1
    return right


def load(port, requests):
    bodies, answers = bodies_and_answers()

    async def main():
        return sum(await asyncio.gather(*(client(port, requests, bodies, answers, n) for n in range(CLIENTS))))

    return run(main())


@pytest.mark.parametrize("requests", [20, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_each_client_gets_its_own_answers(requests):
    with Running() as server:
        assert load(server.port, requests) == CLIENTS * requests
        assert server.processes() == [str(server.process.pid)]
        assert server.end() == (0, CLIENTS * requests, CLIENTS * requests, "")


async def until_it_ends(port, bodies, answers, counts):
    """Ask until the server closes; an answer that has begun to come must come whole."""
    draw = random.Random(id(counts))
    while True:
        try:
            connection = await Connection.to(port)
            while True:
                which = draw.randrange(len(bodies))
                connection.send(bodies[which])
                first = await connection.reader.read(1)
                if not first:
                    break
                status, said = await connection.answer(first)
                counts.append((status, said["label"] == answers[which][0]))
        except ConnectionRefusedError:
            return
        except ConnectionError:
            continue


def ended_under_load(model, after, **options):
    bodies, answers = bodies_and_answers()
    with Running(model, **options) as server:

        async def main():
            counts = []
            asking = [asyncio.create_task(until_it_ends(server.port, bodies, answers, counts)) for _ in range(CLIENTS)]
            await asyncio.sleep(after)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(asyncio.gather(*asking), 60)
            return counts

        counts = run(main())
        code, accepted, answered, err = server.ended()
        assert server.processes() == []
    return counts, code, accepted, answered, err


@pytest.mark.parametrize("number", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 11))])
@pytest.mark.parametrize("model", ["digits", "slow"])
def test_what_was_accepted_is_answered_before_the_end(model, number):
    counts, code, accepted, answered, err = ended_under_load(model, after=0.2 + 0.07 * number)
    assert code == 0
    assert err == ""
    assert accepted == answered == len(counts) > 0
    assert set(counts) == {(200, True)}


@pytest.mark.slow
def test_a_balancer_is_told_before_the_end():
    with Running(grace=1.0) as server:

        async def main():
            connection = await Connection.to(server.port)
            before = await connection.ask(path="/ready", method="GET")
            server.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            during = await connection.ask(path="/ready", method="GET")
            late = await (await Connection.to(server.port)).ask(json.dumps({"row": rows(1)[0].tolist()}).encode())
            return before, during, late[0]

        assert run(main()) == ((200, {"ready": True}), (503, {"ready": False}), 200)
        assert server.ended()[:3] == (0, 1, 1)


def test_a_second_signal_cuts_the_grace_short():
    with Running(grace=100.0) as server:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert server.process.poll() is None
        assert server.end(20)[0] == 0


@pytest.mark.slow
def test_a_slow_body_is_given_up_and_its_neighbours_are_not():
    with Running(seconds=1.0) as server:

        async def main():
            slow = await Connection.to(server.port)
            slow.writer.write(b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{")
            fast = await Connection.to(server.port)
            answered = await fast.ask(json.dumps({"row": rows(1)[0].tolist()}).encode())
            return answered[0], await slow.answer(), await slow.closed()

        answered, (status, said), closed = run(main())
        assert (answered, status, closed) == (200, 408, True)
        assert "did not come within 1 seconds" in said["error"]
        assert server.end()[0] == 0


@pytest.mark.slow
def test_a_slow_body_does_not_keep_the_server_from_ending():
    with Running(seconds=2.0) as server:

        async def main():
            slow = await Connection.to(server.port)
            slow.writer.write(b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{")
            silent = await Connection.to(server.port)
            await asyncio.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            return (await slow.answer())[0], await silent.closed()

        assert run(main()) == (408, True)
        assert server.ended(20)[:3] == (0, 1, 1)


def test_a_body_without_a_length_is_cut_at_the_limit():
    with Running() as server:

        async def main():
            connection = await Connection.to(server.port)
            connection.writer.write(b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(18):
                connection.writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            return await connection.answer()

        status, said = run(main())
        assert status == 413
        assert "more than 1048576 bytes" in said["error"]
        assert server.end()[0] == 0


@pytest.mark.slow
def test_clients_that_vanish_leave_the_server_well():
    body = json.dumps({"row": rows(1)[0].tolist()}).encode()
    with Running("slow") as server:

        async def main():
            for _ in range(64):
                connection = await Connection.to(server.port)
                connection.send(body)
                await connection.writer.drain()
                connection.writer.transport.abort()
            stays = await Connection.to(server.port)
            status, _ = await stays.ask(body)
            return status, await stays.ask(path="/metrics", method="GET")

        status, (_, metrics) = run(main())
        assert status == 200
        assert "lightning_posttrain_queue_rows 0" in metrics
        code, accepted, answered, err = server.end()
        assert (code, err) == (0, "")
        assert accepted == answered


def test_garbage_on_the_socket_leaves_the_server_well():
    with Running(key="secret") as server:

        async def main():
            for garbage in (b"\x00" * 1000, b"GET", b"POST /predict HTTP/9.9\r\n\r\n", b"\x16\x03\x01" + bytes(64)):
                connection = await Connection.to(server.port)
                connection.writer.write(garbage)
                connection.writer.write_eof()
                await connection.closed()
            connection = await Connection.to(server.port)
            without = await connection.ask(b"{}")
            connection = await Connection.to(server.port)
            return without[0], (await connection.ask(b"{}", headers=["X-API-Key: secret"]))[0]

        assert run(main()) == (401, 422)
        assert server.end()[0] == 0


def test_uvicorn_leaves_its_signals_to_us():
    assert callable(uvicorn.Server.capture_signals)


@pytest.fixture
def serving(monkeypatch):
    """`command` with a model in place of a folder."""
    monkeypatch.delenv("LIGHTNING_POSTTRAIN_KEY", raising=False)
    monkeypatch.setitem(vars(lightning_posttrain.export), "load", lambda folder, *, threads: Digits())

    return lambda **options: command("folder", **options)


def test_a_port_that_is_taken_is_said(serving, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serving(port=port) == 2
    assert f"127.0.0.1:{port} cannot be served: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"host": "0.0.0.0"}, "which others can reach, and there is no key"),
        ({"host": "::"}, "which others can reach"),
        ({"host": ""}, "which others can reach"),
        ({"host": "no.such.host.invalid"}, "cannot be resolved"),
        ({"port": 70000}, "`port` is 70000"),
        ({"grace": -1}, "`grace` is -1"),
        ({"seconds": 0}, "`seconds` is 0"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(serving, capsys, options, reason):
    assert serving(**{"port": 0, **options}) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_the_key_that_the_words_ask_for_is_enough():
    with listening("0.0.0.0", 0, "key") as taken:
        assert url(taken).startswith("http://0.0.0.0:")
    with pytest.raises(CannotServeError, match="cannot be served"):
        listening("192.0.2.1", 0, "key")


def test_answers_do_not_wait_for_acknowledgements():
    body = json.dumps({"row": rows(1)[0].tolist()}).encode()
    with Running() as server:

        async def main():
            connection, seconds = await Connection.to(server.port), []
            for _ in range(30):
                begin = time.perf_counter()
                await connection.ask(body)
                seconds.append(time.perf_counter() - begin)
            return min(seconds)

        assert run(main()) < 0.02
        server.end()
    with listening("127.0.0.1", 0, None) as taken:
        assert taken.proto == socket.IPPROTO_TCP


def test_a_model_that_fails_on_zeros_is_not_served():
    def baked(inputs):
        if len(inputs["x"]) > 1:
            raise RuntimeError("batch of one only")
        return of_sums(inputs)

    predictor = Made(baked, Digits().signature.inputs)
    with pytest.raises(CannotServeError, match="fails on zeros: RuntimeError: batch of one only"):
        serve(predictor, say=print, port=0)


def test_a_folder_that_is_none_is_said(monkeypatch, capsys):
    def load(folder, *, threads):
        raise ValueError(f"{folder} has no manifest.json.")

    monkeypatch.setitem(vars(lightning_posttrain.export), "load", load)
    assert command("nowhere") == 2
    assert "nowhere has no manifest.json." in capsys.readouterr().err


def test_a_folder_with_a_reference_is_watched(monkeypatch):
    seen = {}

    class Reference:
        from_dict = staticmethod(lambda saved: ("reference", saved["rows"]))

    def watch(reference, *, window):
        return (reference, window)

    exported = {"load": lambda folder, *, threads: Digits(reference={"rows": 3}), "DriftReference": Reference}
    for name, value in {**exported, "DriftWatch": watch}.items():
        monkeypatch.setitem(vars(lightning_posttrain.export), name, value)
    monkeypatch.setattr(
        "lightning_posttrain.serving.server.serve", lambda predictor, **options: seen.update(options) or 0
    )
    assert command("folder", window=500) == 0
    assert seen["watch"] == (("reference", 3), 500)
    monkeypatch.setitem(vars(lightning_posttrain.export), "load", lambda folder, *, threads: Digits())
    assert command("folder") == 0
    assert seen["watch"] is None


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import lightning_posttrain.export as export; export.load = None\n"
        "from lightning_posttrain.serving import command\n"
        "sys.exit(command('folder'))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert f"{package} is not installed. Run `pip install 'lightning-posttrain[serve]'`" in found.stderr


def test_serving_needs_no_torch():
    code = (
        "import lightning_posttrain.serving.server, lightning_posttrain.serving.command, sys\n"
        "print(sorted({'torch', 'lightning', 'matplotlib', 'torchmetrics'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_reader_of_the_first_line_alone_costs_nothing():
    code = (
        "import lightning_posttrain.export as export; from tests.serving.models import Digits\n"
        "export.load = lambda folder, *, threads: Digits()\n"
        "from lightning_posttrain.serving import command\n"
        "raise SystemExit(command('folder', port=0))"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert "answers at" in server.stdout.readline()
    server.stdout.close()
    server.send_signal(signal.SIGTERM)
    assert (server.wait(60), server.stderr.read()) == (0, "")
    server.stderr.close()


@pytest.mark.parametrize("key", [" ", "wQz7\n", "\twQz7", "wQ\x07z7"])
def test_a_key_that_no_header_brings_is_refused(serving, monkeypatch, capsys, key):
    monkeypatch.setenv("LIGHTNING_POSTTRAIN_KEY", key)
    assert serving(port=0, host="0.0.0.0") == 2
    said = capsys.readouterr().err
    assert "LIGHTNING_POSTTRAIN_KEY is empty, or has a space at an end" in said
    assert "z7" not in said


def raw_answer(port, head, body=b""):
    """All that comes before the server closes the connection, or for a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall("\r\n".join((*head, "Host: here", "", "")).encode() + body)
        found = b""
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(1 << 16):
                found += part
            return found, True
    return found, False


@pytest.mark.parametrize("path", ["/predict", "/info", "/nowhere"])
def test_a_body_of_two_lengths_carries_no_second_request(path):
    inside = b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: here\r\n\r\n"
    with Running() as server:
        head = (f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked", f"Content-Length: {len(inside)}")
        found, closed = raw_answer(server.port, head, inside)
        server.end()
    assert (found.count(b"HTTP/1.1"), closed) == (1, True)


@pytest.mark.parametrize("length", [1 << 21, 10**17])
def test_a_body_that_is_announced_as_too_long_is_not_waited_for(length):
    with Running() as server:
        found, closed = raw_answer(server.port, ("POST /predict HTTP/1.1", f"Content-Length: {length}"), b"{")
        assert server.end()[:3] == (0, 1, 1)
    assert (found.split()[1], closed) == (b"413", True)
