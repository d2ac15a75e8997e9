"""Ray Serve, really running."""

import json
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from lightning_posttrain.serving.adapters.ray_serve import ray_application
from tests.serving.adapters.bodies import BAD, body
from tests.serving.adapters.stand_in import Predictor

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
ray = pytest.importorskip("ray")
serve = pytest.importorskip("ray.serve")


def asked(text):
    connection = HTTPConnection("127.0.0.1", 8765, timeout=30)
    try:
        connection.request("POST", "/", text)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def worker_setup():
    from tests.serving.adapters import stand_in

    stand_in.install()


@pytest.fixture(scope="module", autouse=True)
def _served():
    root = str(Path(__file__).parents[3])
    environment = {"env_vars": {"PYTHONPATH": root}, "worker_process_setup_hook": worker_setup}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 8765})
        options = {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2}, "ray_actor_options": {"num_cpus": 0.1}}
        serve.run(ray_application("folder", max_batch_size=8, batch_wait_timeout_s=0.05, options=options))
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def test_many_clients_get_the_answers_of_their_own_rows():
    rows = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda row: asked(body(row.tolist())), rows))
    assert {status for status, _ in answers} == {200}
    wanted = Predictor()({"x": rows})
    found = [json.loads(text) for _, text in answers]
    assert [answer["label"] for answer in found] == wanted.labels
    assert np.array([answer["probabilities"] for answer in found]) == pytest.approx(wanted.probabilities, abs=1e-6)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_body_is_refused_with_a_reason(kind):
    status, text = asked(BAD[kind])
    assert status in (400, 422)
    assert json.loads(text)["detail"]


def test_a_bad_body_costs_none_of_its_neighbours_theirs():
    bodies = [body([float(step), 0.0, 0.0, 1.0]) if step % 4 else BAD["another shape"] for step in range(64)]
    with ThreadPoolExecutor(16) as clients:
        found = [status for status, _ in clients.map(asked, bodies)]
    assert found == [200 if step % 4 else 422 for step in range(64)]
