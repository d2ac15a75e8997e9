"""What clients send: each wrong thing has its reason, and costs no neighbour."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_posttrain.export import TensorSpec
from tests.serving.client import Client
from tests.serving.models import CLASSES, Digits, Made, of_sums, rows, weights

TOKENS = TensorSpec("tokens", "int64", (None, None))


@pytest.fixture(scope="module")
def digits():
    return Client(Digits())


def softmax(x):
    """Of the model in `models`, in float64."""
    logits = x.reshape(len(x), -1).astype("float64") @ weights().astype("float64")
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["rows", "inputs", "npy", "npy of columns first", "npy of float64, big end first"])
def test_rows_are_answered_in_order_in_each_form(digits, form):
    x = rows(5)
    body = {
        "rows": {"rows": x.tolist()},
        "inputs": {"inputs": {"x": x.tolist()}},
        "npy": npy(x),
        "npy of columns first": npy(np.asfortranarray(x)),
        "npy of float64, big end first": npy(x.astype(">f8")),
    }[form]
    answer = digits.ask(body)
    assert answer.status == 200
    found = answer.json["answers"]
    assert [one["label"] for one in found] == [CLASSES[index] for index in softmax(x).argmax(1)]
    np.testing.assert_allclose([one["probabilities"] for one in found], softmax(x), atol=1e-6)


def test_one_row_has_an_answer_that_stands_alone(digits):
    x = rows(1)
    answer = digits.ask({"row": x[0].tolist()})
    assert answer.status == 200
    assert answer.json["decision"] == softmax(x).argmax()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (1e300, "not finite"),
        ("1", "wanted float32"),
        (None, "of object, wanted float32"),
        (True, "true or false"),
        ([1.0], "no array|shape"),
        ({}, "of object"),
        (10**400, "of object|no array"),
    ],
)
def test_a_wrong_number_costs_its_row_alone(digits, wrong, reason):
    x = rows(3)
    sent = x.tolist()
    sent[1][0][4][4] = wrong
    answer = digits.ask({"rows": sent})
    assert answer.status == 200
    first, second, third = answer.json["answers"]
    assert list(second) == ["error"]
    assert any(part in second["error"] for part in reason.split("|")), second
    np.testing.assert_allclose([first["probabilities"], third["probabilities"]], softmax(x[[0, 2]]), atol=1e-6)
    alone = digits.ask({"row": sent[1]})
    assert (alone.status, alone.json) == (422, second)


def test_a_nan_in_an_array_costs_its_row_alone(digits):
    x = rows(4)
    x[2, 0, 0, 0] = np.nan
    answer = digits.ask(npy(x))
    assert ["error" in one for one in answer.json["answers"]] == [False, False, True, False]


def test_a_row_that_is_right_makes_the_request_right_and_none_makes_it_wrong(digits):
    good, bad = rows(1)[0].tolist(), [[1.0]]
    assert digits.ask({"rows": [good, bad, bad]}).status == 200
    none = digits.ask({"rows": [bad, 7, "row"]})
    assert none.status == 422
    assert all("wanted float32 (N, 1, 8, 8)" in one["error"] for one in none.json["answers"])


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "no JSON"),
        (b'{"rows": [', 400, "no JSON"),
        (b'{"rows": \xff\xfe}', 400, "neither a picture"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"row": ' + b"1" * 5000 + b"}", 400, "no JSON"),
        (b'{"row": 1e999}', 422, "shape"),
        (b"null", 422, "a JSON null"),
        (b"[[1, 2]]", 422, "a JSON list"),
        (b"{}", 422, "wanted one of"),
        (b'{"x": [1]}', 422, "wanted one of"),
        (b'{"row": [1], "rows": []}', 422, "wanted one of"),
        (b'{"\\ud800": 1}', 422, "wanted one of"),
        (b'{"rows": {"0": 1}}', 422, "wanted a list of rows"),
        (b'{"rows": []}', 422, "no row"),
        (b'{"inputs": {"y": [1]}}', 422, "`inputs` has ['y']"),
        (b'{"inputs": [1]}', 422, "a JSON list"),
        (b'{"inputs": {"x": 3}}', 422, "`inputs.x`"),
        (b'{"rows": [' + b"0," * 2000 + b"0]}", 413, "at most 1024"),
        (b"GIF89a" + bytes(64), 400, "JSON"),
        (b"--boundary\r\nContent-Disposition: form-data\r\n", 400, "no JSON"),
        (b"\x93NUMPY", 400, "no .npy"),
        (b"\x93NUMPY\x01\x00\x04\x00{[(\n", 400, "no .npy"),
        (b"\x93NUMPY\x09\x00" + bytes(80), 400, "no .npy"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(digits, body, status, reason):
    answer = digits.ask(body)
    assert answer.status == status
    assert reason in answer.json["error"]
    assert len(answer.json["error"]) <= 501


def header(shape, dtype="<f4"):
    """A file that says more than it has."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (header((1 << 40, 1, 8, 8)), "its header says"),
        (header((-1, -256)) + bytes(1024), "shape (-1, -256)"),
        (header(()) + bytes(4), "shape ()"),
        (header((1,), "|O") + bytes(8), "object"),
        (header((1,), "|V0"), "wanted float32"),
        (npy(np.zeros((1, 1, 8, 8), "float32"))[:-1], "bytes"),
        (npy(np.zeros((0, 1, 8, 8), "float32")), "no row"),
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "object"),
    ],
)
def test_a_numpy_file_is_checked_before_it_is_believed(digits, body, reason):
    answer = digits.ask(body)
    assert answer.status in (400, 422)
    assert reason in json.dumps(answer.json)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "M8[s]", "bool", "i4,i4"])
def test_an_array_of_another_kind_is_refused_with_what_is_wanted(digits, dtype):
    answer = digits.ask(npy(np.zeros((2, 1, 8, 8), dtype)))
    assert answer.status == 422
    assert "wanted float32 (N, 1, 8, 8)" in json.dumps(answer.json)


@pytest.fixture(scope="module")
def two_inputs():
    return Client(Made(of_sums, (TensorSpec("a", "float32", (None, 2)), TensorSpec("b", "int64", (None,)))))


def test_several_inputs_come_by_column_or_by_row(two_inputs):
    by_column = two_inputs.ask({"inputs": {"a": [[1, 2], [-9, 0.5]], "b": [3, 4]}})
    by_row = two_inputs.ask({"rows": [{"a": [1, 2], "b": 3}, {"b": 4, "a": [-9, 0.5]}]})
    assert by_column.json == by_row.json
    assert [one["label"] for one in by_row.json["answers"]] == ["high", "low"]
    assert two_inputs.ask({"row": {"a": [1, 2], "b": 3}}).json["label"] == "high"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": [1, 2]}, "wanted an object with ['a', 'b']"),
        ({"a": [1, 2], "b": 3, "c": 1}, "['a', 'b', 'c']"),
        ([1, 2], "A row is list"),
        ({"a": [1, 2], "b": 1.5}, "`b` is of float64, wanted int64"),
        ({"a": [1, 2], "b": 2**63}, "`b` is of uint64"),
        ({"a": [1, 2], "b": True}, "true or false"),
        ({"a": [1], "b": 1}, "`a` has shape"),
    ],
)
def test_a_wrong_row_of_several_inputs_costs_itself(two_inputs, row, reason):
    answer = two_inputs.ask({"rows": [row, {"a": [1, 2], "b": 3}]})
    assert answer.status == 200
    assert reason in answer.json["answers"][0]["error"]
    assert answer.json["answers"][1]["label"] == "high"


def test_columns_of_different_lengths_and_a_single_array_are_refused(two_inputs):
    assert "different numbers" in two_inputs.ask({"inputs": {"a": [[1, 2]], "b": [1, 2]}}).json["error"]
    assert "one array" in two_inputs.ask(npy(np.zeros((1, 2)))).json["error"]


def test_rows_of_free_length_are_each_answered():
    client = Client(Made(of_sums, (TOKENS,)))
    answer = client.ask({"rows": [[1, 2, 3], [-5], [], [0.5], [7, -8]]})
    assert [one.get("label") for one in answer.json["answers"]] == ["high", "low", None, None, "low"]
    assert "holds nothing" in answer.json["answers"][2]["error"]
    assert "wanted int64 (N, ?)" in answer.json["answers"][3]["error"]


def test_a_model_of_booleans_takes_them():
    client = Client(Made(of_sums, (TensorSpec("set", "bool", (None, 2)),)))
    assert client.ask({"row": [True, False]}).json["label"] == "high"
    assert client.ask({"row": [1, 0]}).status == 422


PIECES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just([0.5] * 8),
    st.just([[[0.5] * 8] * 8]),
)
VALUES = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["row", "rows", "inputs", "x", "?"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.one_of(VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)), st.data())
def test_no_body_makes_the_server_fail(digits, body, data):
    start = data.draw(st.sampled_from([b"", b"\x93NUMPY\x01\x00", b'{"rows":', b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]))
    answer = digits.ask(start + body)
    assert answer.status in (200, 400, 413, 422)
    assert answer.json


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_no_change_of_a_numpy_file_makes_the_server_fail(digits, where, change):
    body = bytearray(npy(rows(2)))
    where %= len(body)
    body[where : where + len(change)] = change
    assert digits.ask(bytes(body)).status in (200, 400, 413, 422)


def test_the_server_answers_after_all_this(digits):
    assert digits.ask({"row": rows(1)[0].tolist()}).status == 200
    assert not any(status >= 500 for status in digits.service.metrics.statuses)
