import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lightning_posttrain.export import Signature, TensorSpec
from lightning_posttrain.serving.adapters.litserve import lit_api
from lightning_posttrain.serving.adapters.ray_serve import ray_application
from lightning_posttrain.serving.adapters.rows import answers_of, row_of
from lightning_posttrain.serving.refusal import RefusedError
from tests.serving.adapters.stand_in import Predictor

MANIFEST = Predictor.manifest
TWO = replace(
    MANIFEST, signature=Signature((TensorSpec("a", "float32", (None, 2)), TensorSpec("b", "int64", (None,))), ())
)


def test_a_row_is_an_array_or_an_object_of_arrays():
    assert row_of(b'{"row": [1, 2, 3, 4.5]}', MANIFEST)["x"].tolist() == [1, 2, 3, 4.5]
    assert row_of(b'{"rows": [{"x": [1, 2, 3, 4]}]}', MANIFEST)["x"].tolist() == [1, 2, 3, 4]
    found = row_of(b'{"row": {"a": [1, 2], "b": 7}}', TWO)
    assert (found["a"].tolist(), found["b"].tolist()) == ([1, 2], 7)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "no JSON"),
        (b'{"row": [NaN, 1, 2, 3]}', 422, "not finite"),
        (b'{"row": [1, 2, 3]}', 422, r"has shape \(1, 3\)"),
        (b'{"rows": []}', 422, "There is no row"),
        (b'{"rows": [[1, 2, 3, 4], [1, 2, 3, 4]]}', 413, "There are 2 rows, wanted at most 1"),
    ],
)
def test_a_body_that_is_not_one_row_is_refused_with_a_reason(body, status, words):
    with pytest.raises(RefusedError, match=words) as refused:
        row_of(body, MANIFEST)
    assert refused.value.status == status


def test_rows_that_wait_are_answered_together_in_their_order():
    predictor, rows = Predictor(), np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    found = answers_of(predictor, [{"x": row} for row in rows])
    assert predictor.batches == [9]
    alone = [answers_of(predictor, [{"x": row}])[0] for row in rows]
    assert [answer["label"] for answer in found] == [answer["label"] for answer in alone]
    for one, other in zip(found, alone, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-5)


def test_rows_of_other_lengths_go_apart_and_come_back_in_order():
    class Sums:
        decision = Predictor.decision
        shapes = ()

        def __call__(self, rows):
            self.shapes += (rows["x"].shape,)
            chosen = rows["x"].sum(axis=1).astype(int) - 2
            return SimpleNamespace(decision=chosen, probabilities=np.full((len(chosen), 3), 1 / 3))

    model = Sums()
    found = answers_of(model, [{"x": np.full(length, 1.0)} for length in (2, 3, 2)])
    assert [answer["label"] for answer in found] == ["cat", "dog", "cat"]
    assert model.shapes == ((2, 2), (1, 3))


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
