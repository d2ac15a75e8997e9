import sys

import numpy as np
import pytest

from lightning_posttrain.export import Signature, TensorSpec
from lightning_posttrain.serving.adapters.litserve import lit_api
from lightning_posttrain.serving.adapters.ray_serve import ray_application
from lightning_posttrain.serving.adapters.rows import answers_of, row_of
from tests.serving.adapters.stand_in import SIGNATURE, Predictor

TWO = Signature((TensorSpec("a", "float32", (None, 2)), TensorSpec("b", "int64", (None,))), ())


def test_a_row_is_an_array_or_an_object_of_arrays():
    assert row_of(b'{"row": [1, 2, 3, 4.5]}', SIGNATURE)["x"].tolist() == [[1, 2, 3, 4.5]]
    assert row_of(b'{"row": {"x": [1, 2, 3, 4]}}', SIGNATURE)["x"].tolist() == [[1, 2, 3, 4]]
    found = row_of(b'{"row": {"a": [1, 2], "b": 7}}', TWO)
    assert (found["a"].tolist(), found["b"].tolist()) == ([[1, 2]], [7])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSONDecodeError"),
        (b'{"row": [NaN, 1, 2, 3]}', "NaN is no number"),
        (b'{"row": [1e999, 1, 2, 3]}', "not finite"),
        (b'{"row": [1, 2, 3]}', r"has shape \(1, 3\)"),
        (b'{"rows": []}', "KeyError"),
        (b"[1]", "TypeError"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"row": {"y": 1}}', r"`rows` has \['y'\], wanted \['x'\]"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
    ],
)
def test_a_body_that_is_no_row_is_refused_with_a_reason(body, words):
    with pytest.raises(ValueError, match=words) as refused:
        row_of(body, SIGNATURE)
    assert str(refused.value).endswith('Wanted {"row": one row of x float32 (N, 4)}.')
    assert len(str(refused.value)) < 500


def test_rows_that_wait_are_answered_together_in_their_order():
    predictor, rows = Predictor(), np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    found = answers_of(predictor, [{"x": row[None]} for row in rows])
    assert predictor.batches == [9]
    alone = [answers_of(predictor, [{"x": row[None]}])[0] for row in rows]
    assert [answer["label"] for answer in found] == [answer["label"] for answer in alone]
    for one, other in zip(found, alone, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-5)


def test_rows_of_other_lengths_go_apart_and_come_back_in_order():
    class Sums:
        def __call__(self, rows):
            x = rows["x"]
            self.shapes = [*getattr(self, "shapes", []), x.shape]
            return type("", (), {"labels": None, "decision": x.sum(1), "probabilities": x})

    model = Sums()
    found = answers_of(model, [{"x": np.full((1, length), 1.0)} for length in (2, 3, 2)])
    assert found[1] == {"decision": 3, "probabilities": [1, 1, 1]}
    assert [answer["decision"] for answer in found] == [2, 3, 2]
    assert model.shapes == [(2, 2), (1, 3)]


@pytest.mark.parametrize(
    ("make", "module", "install"),
    [
        (lit_api, "litserve", r"pip install litserve"),
        (ray_application, "ray", r"pip install 'ray\[serve\]'"),
    ],
)
def test_a_server_that_is_not_installed_is_named(monkeypatch, make, module, install):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=install):
        make("folder")
