"""What a request to a served model costs, beside onnxruntime alone, FastAPI and LitServe.

    python benchmarks/serve.py [--rounds 5] [--requests 3200]

A small CNN in onnxruntime, one thread, JSON of 64 numbers, 32 connections that ask one request after the other and
check each answer. Servers run side by side and are asked in turn in every round; figures are medians. CPU time is that
of all processes of a server, from /proc. What is not installed is said.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))
CLIENTS, CLASSES = 32, 10
Figures = dict[str, float]


def network() -> bytes:
    """Two convolutions, softmax and argmax, for pictures of 8 × 8."""
    draw = np.random.default_rng(0)
    shapes = {"k1": (16, 1, 3, 3), "k2": (32, 16, 3, 3), "w": (32 * 64, CLASSES)}
    weights = [numpy_helper.from_array(draw.normal(0, 0.2, shape).astype("float32"), n) for n, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "k1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["decision"], axis=1, keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES]),
        helper.make_tensor_value_info("decision", TensorProto.INT64, ["N"]),
    ]
    graph = helper.make_graph(nodes, "cnn", [x], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


class Outputs(NamedTuple):
    """Answers for a batch."""

    probabilities: Any
    decision: Any


class Model:
    """The network in onnxruntime, one thread."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(network(), options, ["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Any], /) -> Outputs:
        return Outputs(*self._session.run(["probabilities", "decision"], dict(inputs)))


def ours(port: int) -> None:
    from lightning_posttrain.export import Decision, Manifest, Signature, TensorSpec
    from lightning_posttrain.serving import serve

    outputs = TensorSpec("probabilities", "float32", (None, CLASSES)), TensorSpec("decision", "int64", (None,))
    signature = Signature((TensorSpec("x", "float32", (None, 1, 8, 8)),), outputs)
    decision = Decision("multiclass", tuple(map(str, range(CLASSES))))

    class Predictor(Model):
        def __init__(self) -> None:
            super().__init__()
            self.signature, self.decision = signature, decision
            self.manifest = Manifest("CNN", "2026-01-01", {}, signature, decision)

    serve(Predictor(), say=str, port=port)


def fastapi(port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Row(BaseModel):
        row: list[list[list[float]]]

    class Answer(BaseModel):
        decision: int
        probabilities: list[float]

    app, model = FastAPI(), Model()

    # a string would be looked up among the names of the module, where these classes are not
    def predict(asked: Any) -> Answer:
        probabilities, decision = model.run({"x": np.asarray([asked.row], "float32")})
        return Answer(decision=int(decision[0]), probabilities=probabilities[0].tolist())

    async def endpoint(asked: Any) -> Answer:
        return predict(asked)

    endpoint.__annotations__ = {"asked": Row, "return": Answer}
    app.post("/predict")(endpoint)
    uvicorn.run(app, port=port, log_level="error", access_log=False)


if any(part.startswith("LitServe") for part in sys.argv):
    # at the module's own level, as its processes import it from there
    from litserve import LitAPI, LitServer

    class Api(LitAPI):  # type: ignore[misc]
        """Checks nothing, as its documentation shows."""

        def setup(self, device: Any) -> None:
            self.cnn = Model()

        def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def] # noqa: ANN001  # a type would be checked
            return np.asarray(request["row"], "float32")

        def predict(self, x: Any) -> Any:
            alone = self.max_batch_size == 1
            probabilities, decision = self.cnn.run({"x": x[None] if alone else x})
            answers = list(zip(probabilities, decision, strict=True))
            return answers[0] if alone else answers

        def unbatch(self, output: Any) -> Any:
            return output

        def encode_response(self, output: Any) -> Any:
            return {"decision": int(output[1]), "probabilities": output[0].tolist()}


def litserve(port: int, rows: int) -> None:
    server = LitServer(Api(max_batch_size=rows, batch_timeout=0.0), accelerator="cpu", workers_per_device=1)
    server.run(port=port, generate_client_file=False, log_level="error", num_api_servers=1)


SERVERS: dict[str, tuple[str, Callable[[int], None]]] = {
    "ours": ("uvicorn", ours),
    "FastAPI + pydantic": ("fastapi", fastapi),
    "LitServe": ("litserve", lambda port: litserve(port, 1)),
    "LitServe, max_batch_size=16": ("litserve", lambda port: litserve(port, 16)),
}


class Server:
    """A server in a session of its own."""

    def __init__(self, name: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [sys.executable, "-W", "ignore", __file__, "--serve", name, "--port", str(self.port)]
        with Path(os.devnull).open("w") as nowhere:
            self._process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere, start_new_session=True)

    def _stats(self) -> list[list[str]]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == self._process.pid:
                    found.append(fields)
        return found

    @property
    def cpu_seconds(self) -> float:
        return sum(int(f[11]) + int(f[12]) for f in self._stats()) / os.sysconf("SC_CLK_TCK")

    @property
    def resources(self) -> tuple[int, float]:
        """Processes, and MiB of memory that they hold."""
        stats = self._stats()
        return len(stats), sum(int(fields[21]) for fields in stats) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def wait(self) -> None:
        for _ in range(600):
            with suppress(OSError, AssertionError, asyncio.IncompleteReadError):
                asyncio.run(asked(self.port, CLIENTS * 4))
                return
            time.sleep(0.1)
        raise RuntimeError("the server does not answer")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def questions(count: int = 64) -> tuple[list[bytes], Any]:
    x = np.random.default_rng(1).random((count, 1, 8, 8)).astype("float32").round(4)
    bodies = [json.dumps({"row": row.tolist()}).encode() for row in x]
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [head % len(body) + body for body in bodies], Model().run({"x": x}).decision


async def asked(port: int, requests: int) -> None:
    messages, wanted = questions()

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, requests, CLIENTS):
            writer.write(messages[number % len(messages)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length is not None
            said = await reader.readexactly(int(length.group(1)))
            assert head.split(None, 2)[1] == b"200", said
            assert json.loads(said)["decision"] == wanted[number % len(messages)]
        writer.close()

    await asyncio.gather(*map(client, range(CLIENTS)))


def timed(server: Server, requests: int) -> Figures:
    begin, cpu = time.perf_counter(), server.cpu_seconds
    asyncio.run(asked(server.port, requests))
    wall = time.perf_counter() - begin
    return {"cpu": (server.cpu_seconds - cpu) / requests * 1e3, "rate": requests / wall}


def alone(model: Model, rows: int, calls: int = 400) -> float:
    """CPU milliseconds of a row in onnxruntime."""
    x = np.random.default_rng(2).random((rows, 1, 8, 8)).astype("float32")
    begin = time.process_time()
    for _ in range(calls):
        model.run({"x": x})
    return (time.process_time() - begin) / (calls * rows) * 1e3


def mean_batch(port: int) -> float:
    """Rows that ours answered at once."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    total, count = (float(re.findall(rf"batch_rows_{part} (\S+)", text)[0]) for part in ("sum", "count"))
    return total / count


def compared(servers: dict[str, Server], rounds: int, requests: int) -> None:
    model, batches = Model(), (1, 16, 64)
    found: dict[str, list[Figures]] = {name: [] for name in servers}
    rows: dict[int, list[float]] = {n: [] for n in batches}
    for number in range(rounds + 1):
        for n in batches:
            rows[n].append(alone(model, n))
        for name, server in servers.items():
            figures = timed(server, requests)
            if number:
                found[name].append(figures)
    own = {n: median(values[1:]) for n, values in rows.items()}
    print(f"onnxruntime alone, ms a row in batches of 1, 16, 64: {', '.join(f'{v:.3f}' for v in own.values())}")
    print(f"\n{'':30}{'CPU ms':>8}{'least':>8}{'requests/s':>12}{'processes':>11}{'MiB':>6}")
    for name, server in servers.items():
        cpu, rate = ([figures[key] for figures in found[name]] for key in ("cpu", "rate"))
        processes, memory = server.resources
        print(f"{name:30}{median(cpu):8.3f}{min(cpu):8.3f}{median(rate):12.0f}{processes:11}{memory:6.0f}")
    print(f"ours answered {mean_batch(servers['ours'].port):.1f} rows at once")
    print("1.5 times onnxruntime's plus 0.1 ms: " + ", ".join(f"{1.5 * value + 0.1:.3f}" for value in own.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3200)
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        SERVERS[arguments.serve][1](arguments.port)
        return
    onnx.checker.check_model(onnx.load_from_string(network()))
    beneath = [name for name in ("httptools", "uvloop") if importlib.util.find_spec(name)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    with_them = " and ".join(beneath) or "neither httptools nor uvloop"
    print(f"{date.today()}, onnxruntime {onnxruntime.__version__}, {with_them}, load {load}")
    there = {name: server for name, (needs, server) in SERVERS.items() if importlib.util.find_spec(needs)}
    for name in SERVERS.keys() - there.keys():
        print(f"{name}: not installed")
    servers = {name: Server(name) for name in there}
    try:
        for server in servers.values():
            server.wait()
        compared(servers, arguments.rounds, arguments.requests)
    finally:
        for server in servers.values():
            server.close()


if __name__ == "__main__":
    main()
