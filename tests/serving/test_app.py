"""Routes, keys, limits, documents and figures of an application in this process."""

import asyncio
import json
import math
import re
import threading

import numpy as np
import pytest

from lightning_posttrain.export import Decision, TensorSpec
from lightning_posttrain.serving.answers import answer
from lightning_posttrain.serving.app import application
from lightning_posttrain.serving.limits import Limits, body_bytes_for
from lightning_posttrain.serving.openapi import document
from lightning_posttrain.serving.service import Service
from tests.serving.client import Client, asked
from tests.serving.models import Digits, Made, Outputs, of_sums, rows

PAIR = (TensorSpec("x", "float32", (None, 2)),)
ROW = json.dumps({"row": [1, 2]}).encode()


@pytest.mark.parametrize(
    ("path", "method", "status", "reason"),
    [("/nothing", "GET", 404, "no /nothing"), ("/predict", "GET", 405, "does not take GET"),
     ("/predict/", "POST", 404, "no /predict/"), ("/info", "DELETE", 405, "does not take DELETE")],
)  # fmt: skip
def test_what_is_not_there_is_said_in_json(path, method, status, reason):
    found = Client(Digits()).ask(path=path, method=method)
    assert found.status == status
    assert reason in found.json["error"]


def test_the_root_page_says_what_is_there():
    page = Client(Made(of_sums, PAIR, Decision("multiclass", ("<low>", "high")))).get("/").body.decode()
    for path in ("/predict", "info", "openapi.json", "metrics", "health", "ready", "float32 (2)"):
        assert path in page


def test_ready_follows_warming_up_and_draining():
    client = Client(Digits())
    assert client.get("/ready").status == 503
    asyncio.run(client.service.warm_up())
    assert (client.get("/ready").status, client.get("/ready").json) == (200, {"ready": True})
    client.service.draining = True
    assert client.get("/ready").status == 503
    assert client.get("/health").status == 200


def test_each_batch_size_is_warmed_up():
    sizes = []

    def run(inputs):
        sizes.append(len(inputs["x"]))
        return of_sums(inputs)

    asyncio.run(Client(Made(run, PAIR), batch_rows=16).service.warm_up())
    assert sizes == [1, 2, 4, 8, 16]


def test_a_length_that_is_free_may_fail_to_be_warmed_up(caplog):
    def run(inputs):
        raise RuntimeError("too short")

    free = Client(Made(run, (TensorSpec("x", "float32", (None, None)),)))
    asyncio.run(free.service.warm_up())
    assert free.service.ready
    assert "Not warmed up" in caplog.text
    with pytest.raises(RuntimeError, match="too short"):
        asyncio.run(Client(Made(run, PAIR)).service.warm_up())


@pytest.mark.parametrize("key", ["secret", "schlüssel"])
def test_a_key_is_asked_for_wherever_something_is_told(key):
    client = Client(Made(of_sums, PAIR), key=key)
    right = {"headers": [("X-API-Key", key)]}
    for given in ((), [("X-API-Key", "secreT")], [("X-API-Key", "")]):
        found = client.ask(ROW, headers=given)
        assert found.status == 401
        assert "X-API-Key" in found.json["error"]
        assert found.headers["connection"] == "close"
    assert client.ask(ROW, **right).status == 200
    for path in ("/", "/info", "/metrics", "/openapi.json"):
        assert client.get(path).status == 401
        assert client.get(path, **right).status == 200
    assert client.get("/health").status == 200
    assert client.get("/openapi.json", **right).json["components"]["securitySchemes"]["key"]["name"] == "X-API-Key"


def test_a_body_is_given_up_as_soon_as_it_is_too_long():
    client, read = Client(Made(of_sums, PAIR), body_bytes=1000), []

    def parts():
        for number in range(1000):
            read.append(number)
            yield b" " * 100

    found = client.ask(parts=parts())
    assert found.status == 413
    assert "more than 1000 bytes" in found.json["error"]
    assert len(read) < 20


def test_bodies_that_are_read_count_as_what_waits():
    client = Client(Made(of_sums, PAIR), waiting_bytes=500)
    found = client.ask(b" " * 600)
    assert (found.status, found.headers["retry-after"]) == (503, "1")
    assert client.service.batcher.waiting_bytes == 0
    assert client.ask(ROW).status == 200


def test_a_slow_body_and_a_slow_model_have_their_own_statuses():
    go = threading.Event()

    def run(inputs):
        go.wait(10)
        return of_sums(inputs)

    slow_body = Client(Made(of_sums, PAIR), seconds=0.1).ask(parts=[b" "] * 100, delay=0.02)
    assert (slow_body.status, "did not come within 0.1" in slow_body.json["error"]) == (408, True)
    slow_model = Client(Made(run, PAIR), seconds=0.1).ask(ROW)
    assert (slow_model.status, "no answer within 0.1" in slow_model.json["error"]) == (504, True)
    go.set()


def test_a_client_that_is_gone_costs_no_run():
    started, go, seen = threading.Event(), threading.Event(), []

    def run(inputs):
        started.set()
        go.wait(10)
        seen.extend(inputs["x"][:, 0].tolist())
        return of_sums(inputs)

    async def main():
        service = Service(Made(run, PAIR), Limits())
        app, left = application(service), asyncio.Event()
        first = asyncio.create_task(asked(app, ROW))
        await asyncio.to_thread(started.wait)
        gone = asyncio.create_task(asked(app, json.dumps({"row": [7, 7]}).encode(), gone=_After(left)))
        stays = asyncio.create_task(asked(app, json.dumps({"row": [9, 9]}).encode()))
        await asyncio.sleep(0.1)
        left.set()
        go.set()
        return [one.status for one in await asyncio.gather(first, gone, stays)]

    assert asyncio.run(main()) == [200, 499, 200]
    assert sorted(seen) == [1, 9]


class _After:
    """An event that is looked at when the body has been read, which is two messages."""

    def __init__(self, event):
        self._event, self._looks = event, 0

    def is_set(self):
        self._looks += 1
        return self._looks > 2 and self._event.is_set()


def test_a_model_that_fails_is_a_500_without_a_traceback(caplog):
    def run(inputs):
        if (inputs["x"] > 5).any():
            raise RuntimeError("in /home/someone/model.py")
        return of_sums(inputs)

    client = Client(Made(run, PAIR))
    found = client.ask({"row": [9, 9]})
    assert found.status == 500
    assert re.fullmatch(r"The model failed on this row: RuntimeError\..*", found.json["error"])
    mixed = client.ask({"rows": [[9, 9], [1, 1], ["a", 1]]})
    assert mixed.status == 200
    assert ["error" in one for one in mixed.json["answers"]] == [True, False, True]
    assert client.ask({"rows": [[9, 9], ["a", 1]]}).status == 500
    assert "someone" in caplog.text
    assert b"someone" not in found.body + mixed.body


def test_json_never_holds_a_number_that_json_has_not(caplog):
    def run(inputs):
        number = len(inputs["x"])
        return Outputs(np.full((number, 2), np.nan, "float32"), np.zeros(number, "int64"))

    found = Client(Made(run, PAIR)).ask(ROW)
    assert (found.status, "not finite" in found.json["error"]) == (500, True)


def test_an_answer_has_the_words_of_its_task():
    probabilities = np.array([0.25, 0.75], "float32")
    binary = answer(Decision("binary", ("ill", "well"), thresholds=(0.9,)), probabilities, np.array(0))
    assert binary == {"label": "ill", "decision": 0, "probabilities": [0.25, 0.75]}
    several = answer(Decision("multilabel", ("a", "b")), probabilities, np.array([0, 1]))
    assert several == {"labels": ["b"], "decision": [0, 1], "probabilities": [0.25, 0.75]}
    places = answer(Decision("multiclass", ("a", "b")), np.zeros((2, 2, 2)), np.array([[0, 1], [-1, 0]]))
    assert places == {"decision": [[0, 1], [-1, 0]]}


class Watched:
    def __init__(self, fails=False):
        self.fails, self.seen = fails, []

    def add(self, probabilities, decision):
        if self.fails:
            raise ValueError("no histogram")
        self.seen.append((probabilities, decision))

    def figures(self):
        return {"psi_confidence": 0.25, "psi_limit": math.inf, "guess": math.nan}

    def words(self):
        return f"{sum(len(d) for _, d in self.seen)} answers, as in the test"


def test_a_watch_gets_each_answer_and_is_shown():
    watch = Watched()
    client = Client(Made(of_sums, PAIR), watch=watch)
    client.ask({"rows": [[1, 2], ["bad", 1], [-3, 1]]})
    assert np.concatenate([d for _, d in watch.seen]).tolist() == [1, 0]
    drift = client.get("/info").json["drift"]
    assert drift == {
        "words": "2 answers, as in the test",
        "figures": {"psi_confidence": 0.25, "psi_limit": None, "guess": None},
    }
    text = client.get("/metrics").body.decode()
    assert 'lightning_posttrain_drift{figure="psi_confidence"} 0.25' in text
    assert 'lightning_posttrain_drift{figure="psi_limit"} +Inf' in text


def test_a_watch_that_fails_costs_no_answer(caplog):
    client = Client(Made(of_sums, PAIR), watch=Watched(fails=True))
    assert client.ask(ROW).status == 200
    assert client.ask(ROW).status == 200
    assert caplog.text.count("left out from here on") == 1
    assert client.get("/info").json["drift"] is None


SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(\{(?:[a-z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (NaN|[+-]Inf|-?[\d.e+-]+)')


def samples(text):
    """By name and labels, values of a text in the format of Prometheus, which is checked on the way."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP \S+ .*|TYPE \S+ (counter|gauge|histogram))", line), line
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert (name, labels) not in found
            found[name.removeprefix("lightning_posttrain_") + (labels or "")] = float(value)
    return found


def test_metrics_count_requests_rows_and_classes():
    client = Client(Made(of_sums, PAIR, Decision("multiclass", ('l"o\\w\n', "high"))))
    for body in ({"rows": [[1, 2], [3, 4], [-1, -2]]}, {"row": [1, 2]}, {"row": 3}):
        client.ask(body)
    client.ask(b"{")
    found = samples(client.get("/metrics").body.decode())
    assert {k: v for k, v in found.items() if k.startswith("requests")} == {
        'requests_total{status="200"}': 2, 'requests_total{status="400"}': 1, 'requests_total{status="422"}': 1,
    }  # fmt: skip
    assert found['answers_total{label="high"}'] == 3
    assert found['answers_total{label="l\\"o\\\\w\\n"}'] == 1
    assert found["batch_rows_sum"] == 4
    assert found["batch_rows_count"] == 2
    assert (found['batch_rows_bucket{le="1"}'], found['batch_rows_bucket{le="4"}']) == (1, 2)
    assert found["request_seconds_count"] == found['request_seconds_bucket{le="+Inf"}'] == 4
    assert found["queue_rows"] == 0
    assert any(name.startswith("build_info") and value == 1 for name, value in found.items())


def test_info_is_the_manifest_with_the_limits():
    client = Client(Digits())
    info = client.get("/info").json
    assert info["model"] == json.loads(client.service.manifest.to_json())
    assert info["server"]["limits"]["batch_rows"] == 64


def test_a_body_may_hold_a_row_as_text_or_a_batch_as_numbers():
    def bytes_of(*shape):
        return body_bytes_for(Made(of_sums, (TensorSpec("x", "float32", shape),)).signature)

    assert bytes_of(None, 2) == 1 << 20
    assert bytes_of(None, 3, 224, 224) == 64 * 4 * 3 * 224 * 224
    assert bytes_of(None, 3, 2048, 2048) == 64 << 20
    assert bytes_of(None, None) == 16 << 20


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"rows": -1}, {"waiting_bytes": math.inf}, {"body_bytes": math.nan}])
def test_limits_are_above_zero(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` is .*, wanted a number above 0"):
        Limits(**wrong)


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


CASES = {
    "pictures": Digits(),
    "two inputs": Made(of_sums, (TensorSpec("a", "int64", (None, None)), TensorSpec("b", "bool", (None,)))),
    "labels": Made(of_sums, PAIR, Decision("multilabel", ("a", "a"))),
}


@pytest.mark.parametrize("case", CASES)
def test_the_openapi_document_holds_together(case):
    made = document(CASES[case].manifest, Limits(), with_key=True)
    assert made["openapi"] == "3.1.0"
    assert set(made["paths"]) == {"/predict", "/health", "/ready", "/info", "/metrics"}
    for reference in references(made):
        assert reference.removeprefix("#/components/schemas/") in made["components"]["schemas"]
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_openapi_document_names_shapes_and_bodies():
    made = document(CASES["pictures"].manifest, Limits(), with_key=False)
    row = made["components"]["schemas"]["Row"]
    assert [row["minItems"], row["items"]["maxItems"], row["items"]["items"]["items"]["type"]] == [1, 8, "number"]
    bodies = made["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert list(bodies) == ["application/json", "application/x-npy", "image/png", "image/jpeg"]
    other = document(CASES["two inputs"].manifest, Limits(), with_key=False)
    assert list(other["paths"]["/predict"]["post"]["requestBody"]["content"]) == ["application/json"]


def test_statuses_that_are_answered_are_in_the_document():
    responses = document(CASES["pictures"].manifest, Limits(), with_key=True)["paths"]["/predict"]["post"]["responses"]
    assert {"200", "400", "401", "408", "413", "422", "500", "503", "504"} == set(responses)


@pytest.mark.peers
@pytest.mark.parametrize("case", CASES)
def test_the_openapi_document_is_valid(case):
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(document(CASES[case].manifest, Limits(), with_key=True))


def test_rows_of_many_clients_are_not_mixed_up():
    x = rows(64)
    expected = Client(Digits()).ask({"rows": x.tolist()}).json["answers"]

    async def main():
        app = application(Service(Digits(), Limits()))
        bodies = [json.dumps({"row": one.tolist()}).encode() for one in x]
        return await asyncio.gather(*(asked(app, body) for body in bodies))

    for found, wanted in zip(asyncio.run(main()), expected, strict=True):
        assert found.json["label"] == wanted["label"]
        np.testing.assert_allclose(found.json["probabilities"], wanted["probabilities"], atol=1e-6)
