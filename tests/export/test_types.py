"""The types of an export: what they refuse, and that JSON gives back what was written."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.classification import tasks
from lightning_posttrain.export.decision import NEVER, TASKS, Decision, Task
from lightning_posttrain.export.manifest import MANIFEST, Manifest
from lightning_posttrain.export.signature import MOST_ROWS, Signature, TensorSpec
from tests.export.folders import NAMES, manifest

OUTPUTS = (TensorSpec("probabilities", "float32", (None, 3)), TensorSpec("decision", "int64", (None,)))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("", "float32", (None,)), "`name` is empty"),
        (("x", "float99", (None,)), "`dtype` of 'x' is 'float99', wanted a type of NumPy"),
        (("x", "object", (None,)), "`dtype` of 'x' is 'object'"),
        (("x", "float32", ()), "`shape` of 'x' is"),
        (("x", "float32", (2, 3)), "wanted None, the batch"),
        (("x", "float32", (None, 0)), "wanted None, the batch"),
    ],
)
def test_a_tensor_that_is_none_is_refused(parts, said):
    with pytest.raises(ValueError, match=said):
        TensorSpec(*parts)


def test_the_tasks_of_an_export_are_those_of_a_classifier():
    assert (Task, TASKS) == (tasks.Task, tasks.TASKS)


def test_words_of_a_tensor_are_as_people_write_them():
    assert TensorSpec("x", "int64", (None,)).words == "int64 (N,)"
    assert TensorSpec("x", "float32", (None, None, 3)).words == "float32 (N, ?, 3)"


@pytest.mark.parametrize(
    ("dtype", "rows", "wanted"),
    [
        ("float32", np.array([[1, 2]]), [[1.0, 2.0]]),
        ("float32", np.array([[1, 2]], np.uint8), [[1.0, 2.0]]),
        ("float16", np.array([[0.1, 2.0]]), [[np.float16(0.1), 2.0]]),
        ("uint8", [[0, 255]], [[0, 255]]),
        ("int32", np.array([[1, 2]], np.int64), [[1, 2]]),
        ("bool", [[True, False]], [[True, False]]),
        ("float32", torch.tensor([[1.0, 2.0]]), [[1.0, 2.0]]),
    ],
)
def test_rows_become_what_is_wanted_where_nothing_but_rounding_is_lost(dtype, rows, wanted):
    found = TensorSpec("x", dtype, (None, 2)).of(rows)
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("dtype", "rows", "said"),
    [
        ("uint8", [[0, 256]], "`x` is of int64, wanted uint8"),
        ("uint8", [[-1, 0]], "`x` is of int64"),
        ("int64", [[1.0, 2.0]], "`x` is of float64, wanted int64"),
        ("int64", np.array([[1, 2**63]], np.uint64), "`x` is of uint64"),
        ("float32", [[True, False]], "`x` is of bool"),
        ("bool", [[0, 1]], "`x` is of int64"),
        ("float32", [[1j, 0]], "`x` is of complex128"),
        ("float32", [[None, 1.0]], "`x` is of object"),
        ("float32", [[2**70, 1]], "`x` is of object"),
        ("float32", [[math.inf, 1.0]], "not finite as float32"),
        ("float16", [[1e6, 1.0]], "not finite as float16"),
        ("float32", torch.ones(1, 2, requires_grad=True), "`x` is no array: Can't call numpy"),
        ("float32", 3.0, r"`x` has shape \(\)"),
        (
            "float32",
            np.zeros((MOST_ROWS + 1, 2), np.float32),
            f"{MOST_ROWS + 1} rows, wanted 1 to {MOST_ROWS}. Give more",
        ),
    ],
)
def test_rows_of_another_type_are_refused_in_words(dtype, rows, said):
    with pytest.raises(ValueError, match=said):
        TensorSpec("x", dtype, (None, 2)).of(rows)


def test_a_free_length_is_any_but_none():
    spec = TensorSpec("ids", "int64", (None, None))
    assert spec.of([[1, 2, 3]]).shape == (1, 3)
    with pytest.raises(ValueError, match=r"`ids` has shape \(2, 0\), wanted int64 \(N, \?\)"):
        spec.of(np.zeros((2, 0), np.int64))


@pytest.mark.parametrize("inputs", [(), (TensorSpec("x", "int64", (None,)),) * 2])
def test_a_signature_has_inputs_of_different_names(inputs):
    with pytest.raises(ValueError, match="wanted one or more tensors of different names"):
        Signature(inputs, OUTPUTS)


@pytest.mark.parametrize(
    "edit",
    [
        lambda said: said.pop("inputs"),
        lambda said: said.update(inputs=[]),
        lambda said: said.update(inputs=7),
        lambda said: said["inputs"][0].pop("dtype"),
        lambda said: said["inputs"][0].update(dtype="object"),
        lambda said: said["inputs"][0].update(dtype=[["a", "b"]]),
        lambda said: said["inputs"][0].update(shape=["a"]),
        lambda said: said["outputs"].pop(),
        lambda said: said["outputs"][0].update(name="logits"),
    ],
)
def test_a_signature_that_is_none_is_refused(edit):
    said = Signature((TensorSpec("x", "float32", (None, 2)),), OUTPUTS).to_dict()
    assert Signature.from_dict(said).to_dict() == said
    edit(said)
    with pytest.raises(ValueError, match="'signature'"):
        Signature.from_dict(said)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"task": "regression"}, "`task` is 'regression', wanted one of"),
        ({"class_names": "ab"}, "`class_names` is 'ab', wanted a tuple of strings"),
        ({"class_names": (1, 2)}, "wanted a tuple of strings"),
        ({"class_names": ("a",)}, "`class_names` has 1, wanted 2 or more for multiclass"),
        ({"task": "binary", "class_names": NAMES}, "`class_names` has 3, wanted 2 for binary"),
        ({"thresholds": (0.5,)}, "`thresholds` has 1, wanted 0 for multiclass, or None"),
        ({"task": "multilabel", "thresholds": (0.5,)}, "`thresholds` has 1, wanted 3 for multilabel"),
        ({"task": "multilabel", "thresholds": (0.5, 1.1, 0)}, "`thresholds` is .*, wanted numbers from 0 to 1"),
        ({"task": "multilabel", "thresholds": (0.5, math.nan, 0)}, "wanted numbers from 0 to 1"),
        ({"confidence": 2.0}, "`confidence` is .*, wanted numbers from 0 to 1"),
        ({"task": "multilabel", "confidence": 0.5}, "`confidence` is for one class a row"),
        ({"confidence": "0.5"}, "`confidence` is"),
        ({"mean": (0.5,)}, "give both or neither"),
        ({"mean": (0.5,), "std": (0.5, 0.5)}, "wanted as many of each"),
        ({"mean": (0.5,), "std": (0.0,)}, "`std` above 0"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(parts, said):
    with pytest.raises(ValueError, match=said):
        Decision(**{"task": "multiclass", "class_names": NAMES, **parts})


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (Decision("multiclass", NAMES), "the most probable class"),
        (Decision("multiclass", NAMES, confidence=0.7), "the most probable class; no answer where none reaches 0.7"),
        (Decision("binary", ("no", "yes")), "'yes' where its probability is at or above 0.5, else 'no'"),
        (
            Decision("multiclass", NAMES, confidence=NEVER),
            "no answer at all, as no probability reaches the least confidence",
        ),
        (
            Decision("binary", ("no", "yes"), (NEVER,)),
            "always 'no', as no probability reaches the threshold",
        ),
        (Decision("multilabel", NAMES), "each label whose probability is at or above 0.5"),
        (Decision("multilabel", NAMES, (0.1, 0.2, 0.3)), "each label whose probability is at or above its threshold"),
    ],
)
def test_a_decision_says_its_rule(decision, words):
    assert decision.words == words
    assert decision.summary == words
    calibrated = replace(decision, calibration={"method": "temperature", "words": "temperature 1.30"})
    assert calibrated.summary == f"{words}; calibrated: temperature 1.30"


@pytest.mark.parametrize(
    "saved", [None, [], {"task": "multiclass"}, {"task": "multiclass", "class_names": ["a", "b"], "x": 1}]
)
def test_what_is_no_decision_is_refused(saved):
    with pytest.raises(ValueError, match="'decision' is"):
        Decision.from_dict(saved)


text = st.text(max_size=20)
numbers = st.floats(0, 1)


@given(names=st.lists(text, min_size=2, max_size=5), confidence=st.none() | numbers, value=st.floats(), stage=text)
def test_a_manifest_comes_back_from_its_json(names, confidence, value, stage):
    decision = Decision("multiclass", tuple(names), confidence=confidence, left_out=("why",), mean=(0.5,), std=(1.5,))
    said = manifest(decision, metrics={stage: {"loss": {"value": value}}}, reference={"counts": [1, 2]})
    read = Manifest.from_json(said.to_json())
    assert read.decision == decision
    assert read.signature == said.signature
    assert read.to_json() == said.to_json()
    assert read.metrics[stage]["loss"]["value"] == (value if math.isfinite(value) else None)


def test_numbers_of_numpy_are_written_as_numbers():
    said = manifest(metrics={"test": {"accuracy": {"value": np.float64(0.5)}, "rows": np.int64(3), "of": np.arange(2)}})
    assert json.loads(said.to_json())["metrics"] == {"test": {"accuracy": {"value": 0.5}, "rows": 3, "of": [0, 1]}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "has schema 'list', wanted 1"),
        (b"{}", "has schema None, wanted 1"),
        (b'{"schema": 2}', "has schema 2, wanted 1"),
        (b'{"schema": 1}', "was changed since it was written"),
    ],
)
def test_what_is_no_manifest_is_refused(content, said):
    with pytest.raises(ValueError, match=rf"{MANIFEST}.*{said}.*Export the model again\."):
        Manifest.from_json(content)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"metrics": [1]}, r"`metrics` is \[1\], wanted values by name"),
        ({"reference": 7}, "`reference` is 7"),
        ({"files": {"a": {"sha256": 1, "bytes": 1}}}, "wanted 'sha256' and 'bytes'"),
        ({"files": {"a": None}}, "wanted 'sha256' and 'bytes'"),
        ({"files": {"a/b": {"sha256": "", "bytes": 1}}}, "`files` has 'a/b', wanted plain names"),
    ],
)
def test_parts_of_a_manifest_that_are_none_are_refused(parts, said):
    with pytest.raises(ValueError, match=said):
        manifest(**parts)
