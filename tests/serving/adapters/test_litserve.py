"""LitServe, really running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from tests.serving.adapters.bodies import BAD, body
from tests.serving.adapters.stand_in import Predictor

pytestmark = pytest.mark.peers
pytest.importorskip("litserve")


def asked(port, body, path="/predict"):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST" if body is not None else "GET", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ready(port, process):
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            if asked(port, None, "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server did not start")


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "LIT_DISABLE_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", "tests.serving.adapters.serve_litserve", str(number)]
    process = subprocess.Popen(command, env=environment, cwd=root, start_new_session=True)
    try:
        ready(number, process)
        yield number
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_many_clients_get_the_answers_of_their_own_rows(port):
    rows = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda row: asked(port, body(row.tolist())), rows))
    assert {status for status, _ in answers} == {200}
    wanted = Predictor()({"x": rows})
    found = [json.loads(text) for _, text in answers]
    assert [answer["label"] for answer in found] == wanted.labels
    assert [answer["decision"] for answer in found] == wanted.decision.tolist()
    assert np.array([answer["probabilities"] for answer in found]) == pytest.approx(wanted.probabilities, abs=1e-6)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_body_is_refused_with_a_reason(port, kind):
    status, text = asked(port, BAD[kind])
    assert status in (400, 422)
    assert json.loads(text)["detail"]


def test_a_bad_body_costs_none_of_its_neighbours_theirs(port):
    bodies = [body([float(step), 0.0, 0.0, 1.0]) if step % 4 else BAD["another shape"] for step in range(64)]
    with ThreadPoolExecutor(16) as clients:
        found = [status for status, _ in clients.map(lambda text: asked(port, text), bodies)]
    assert found == [200 if step % 4 else 422 for step in range(64)]
