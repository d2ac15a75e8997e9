"""A folder answers as the model in it, in words, and without torch."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lightning_posttrain
from lightning_posttrain.export.answers import Answers
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder import running
from lightning_posttrain.export.predictor import Predictor, load
from tests.export.folders import NAMES, expected, exported, model

DECISIONS = {
    "multiclass": Decision("multiclass", NAMES),
    "no answer": Decision("multiclass", NAMES, confidence=0.7),
    "binary": Decision("binary", ("no", "yes"), thresholds=(0.2,)),
    "binary, no answer": Decision("binary", ("no", "yes"), confidence=0.7),
    "multilabel": Decision("multilabel", NAMES, thresholds=(0.3, 0.9, 0.5)),
}


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("decision", DECISIONS.values(), ids=DECISIONS.keys())
def test_answers_are_those_of_numpy_at_any_number_of_rows(tmp_path, decision):
    predictor = load(exported(tmp_path / "export", decision))
    rows = drawn(200, 2)
    probabilities, decided = expected(rows, decision)
    for number in (1, 2, 63, 64, 65, 200):
        answers = predictor(rows[:number])
        assert answers.decision.dtype == np.int64
        np.testing.assert_allclose(answers.probabilities, probabilities[:number], atol=1e-6)
        np.testing.assert_array_equal(answers.decision, decided[:number])
        assert len(answers) == len(answers.labels) == number
    assert len(np.unique(decided)) > 1


def test_labels_are_names_and_none_is_no_answer(tmp_path):
    decision = DECISIONS["no answer"]
    answers = load(exported(tmp_path / "export", decision))([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    assert answers.labels == ("cat", "dog", None)
    assert answers.decision.tolist() == [0, 1, -1]
    np.testing.assert_allclose(answers.confidence, answers.probabilities.max(1))


def test_labels_of_a_multilabel_model_are_tuples(tmp_path):
    answers = load(exported(tmp_path / "export", DECISIONS["multilabel"]))([[3.0, 0.0], [-3.0, -3.0]])
    assert answers.labels == (("cat", "cow"), ())
    chances = answers.probabilities
    np.testing.assert_allclose(answers.confidence, np.where(answers.decision == 1, chances, 1 - chances))


def test_confidence_is_of_the_class_that_was_decided():
    decision = Decision("binary", ("no", "yes"), thresholds=(0.25,))
    answers = Answers(np.array([[0.75, 0.25], [0.8, 0.2]]), np.array([1, 0]), decision)
    assert answers.confidence.tolist() == [0.25, 0.8]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_segmentation_gives_maps_and_no_strings(tmp_path, task):
    decision = Decision(task, NAMES)
    rows = drawn(70, 2, 5, 4)
    answers = load(exported(tmp_path / "export", decision, shape=(2, 5, 4)))(rows)
    probabilities, decided = expected(rows, decision)
    np.testing.assert_allclose(answers.probabilities, probabilities, atol=1e-6)
    np.testing.assert_array_equal(answers.decision, decided)
    assert answers.labels is None
    assert answers.confidence.shape == answers.decision.shape
    assert str(answers) == f"70 maps of {'3 × ' if task == 'multilabel' else ''}5 × 4 decisions"


def test_several_inputs_are_given_by_name(tmp_path):
    decision = DECISIONS["multiclass"]
    predictor = load(exported(tmp_path / "export", decision, inputs=("left", "right")))
    left, right = drawn(5, 2), np.ones((5, 2), np.int64)
    answers = predictor({"right": right, "left": left})
    np.testing.assert_array_equal(answers.decision, expected(left + 1, decision)[1])
    for rows, said in [
        (left, "`rows` is one array, wanted a dict of"),
        ({"left": left}, r"`rows` has \['left'\], wanted \['left', 'right'\]"),
        ({"left": left, "right": right[:2]}, "inputs have different numbers of rows"),
    ]:
        with pytest.raises(ValueError, match=said):
            predictor(rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], r"`x` has shape \(0,\), wanted float32 \(N, 2\)"),
        (np.zeros((0, 2)), "`x` has 0 rows, wanted 1 to 65536"),
        ([[1.0, 2.0, 3.0]], r"`x` has shape \(1, 3\)"),
        ([1.0, 2.0], r"`x` has shape \(2,\)"),
        ([[1.0, float("nan")]], "not finite"),
        ([["a", "b"]], "`x` is of <U1"),
        ([[1.0, 2.0], [1.0]], "`x` is no array"),
        ({"y": [[1.0, 2.0]]}, r"`rows` has \['y'\], wanted \['x'\]"),
        ([[1e300, 0.0]], "not finite as float32"),
    ],
)
def test_rows_that_the_model_does_not_take_are_refused_in_words(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        load(exported(tmp_path / "export"))(rows)


def test_it_prints_as_a_table(tmp_path):
    answers = load(exported(tmp_path / "export", DECISIONS["multilabel"]))(np.tile([[3.0, 0.0]], (12, 1)))
    lines = str(answers).splitlines()
    assert lines[0].split() == ["row", "answer", "probability"]
    assert lines[1].split() == ["0", "cat,", "cow", "0.998,", "0.818"]
    assert lines[-1] == "and 2 more"
    none = load(tmp_path / "export")([[-3.0, -3.0]])
    assert str(none).splitlines()[1].split() == ["0", "none"]


def test_a_file_that_was_changed_is_not_opened(tmp_path):
    path = exported(tmp_path / "export")
    (path / "model.onnx").write_bytes(model(DECISIONS["multiclass"], weights=-np.ones((2, 3), np.float32)))
    with pytest.raises(ValueError, match=r"'model\.onnx' was changed: its SHA-256 is"):
        load(path)


def test_a_planted_pickle_is_refused_also_where_the_other_format_is_opened(tmp_path):
    path = exported(tmp_path / "export", files={"model.pt2": b"\x80\x04."})
    with pytest.raises(ValueError, match=r"'model.pt2' is no file of torch.export"):
        load(path)
    assert len(Predictor(path)([[0.0, 0.0]])) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "tensorrt"}, "`format` is 'tensorrt', wanted one of onnx, pt2, int8"),
        ({"format": "int8"}, "`format` is 'int8', and the folder has onnx"),
        ({"threads": 0}, "`threads` is 0, wanted 1 or more"),
        ({"providers": ["NoneSuch"]}, r"`providers` has \['NoneSuch'\], and this onnxruntime has"),
    ],
)
def test_options_that_cannot_be_are_refused_in_words(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        load(exported(tmp_path / "export"), **options)


def test_a_file_that_the_manifest_does_not_list_is_not_opened(tmp_path):
    path = exported(tmp_path / "export")
    (path / "model.int8.onnx").write_bytes(model(DECISIONS["multiclass"]))
    with pytest.raises(ValueError, match="`format` is 'int8', and the folder has onnx"):
        load(path, format="int8")


def test_other_formats_are_opened_where_they_are_listed(tmp_path):
    path = exported(tmp_path / "export", files={"model.int8.onnx": model(DECISIONS["multiclass"])})
    answers = load(path, format="int8", threads=2, providers=["CPUExecutionProvider"])([[3.0, 0.0]])
    assert answers.labels == ("cat",)


@pytest.mark.parametrize("content", [b"", b"no model", model(DECISIONS["multiclass"], inputs=("z",))])
def test_errors_of_onnxruntime_at_opening_come_in_words(tmp_path, content):
    path = exported(tmp_path / "export", files={"model.int8.onnx": content})
    with pytest.raises(ValueError, match=r"'model.int8.onnx' (cannot be opened by onnxruntime|takes \['z'\])"):
        load(path, format="int8")


def test_errors_of_onnxruntime_while_it_runs_come_in_words(tmp_path):
    path = exported(tmp_path / "export", files={"model.int8.onnx": model(DECISIONS["multiclass"], shape=(2, 3, 3))})
    with pytest.raises(RuntimeError, match=r"'model.int8.onnx' failed on 'x' float32 \(1, 2\)") as raised:
        load(path, format="int8")([[0.0, 0.0]])
    assert type(raised.value) is RuntimeError


def test_a_missing_onnxruntime_is_said_with_its_cure(tmp_path, monkeypatch):
    path = exported(tmp_path / "export")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'lightning-posttrain\[export\]'"):
        load(path)


def test_a_missing_torch_is_said_where_a_program_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("lightning_posttrain.export.folder.pt2._checked", lambda path: {})
    path = exported(tmp_path / "export", files={"model.pt2": b""})
    with pytest.raises(ImportError, match=r"needs torch: pip install torch"):
        load(path, format="pt2")


@pytest.mark.parametrize("folder", ["none", "file"])
def test_a_folder_that_is_none_is_said(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"where there is no folder\. Give that of an export"):
        load(tmp_path / folder)


def test_threads_may_share_one(tmp_path):
    predictor = load(exported(tmp_path / "export"))
    rows = drawn(64, 2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: predictor(row[None]).decision[0], rows))
    np.testing.assert_array_equal(found, predictor(rows).decision)


ALONE = """
import sys
from lightning_posttrain.export import Predictor, load
answers = load(sys.argv[1])([[3.0, 0.0]])
Predictor(sys.argv[1])
from lightning_posttrain.export import check
check(sys.argv[1], [sys.argv[2]])
print(answers.labels, sorted({"torch", "lightning", "onnx", "matplotlib", "captum"} & set(sys.modules)))
"""


def test_an_answer_needs_neither_torch_nor_lightning(tmp_path):
    path = exported(tmp_path / "export")
    np.save(tmp_path / "rows.npy", drawn(3, 2))
    root = Path(lightning_posttrain.__file__).parents[1]
    command = [sys.executable, "-c", ALONE, str(path), str(tmp_path / "rows.npy")]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "('cat',) []"


def test_the_runner_gives_what_the_model_gave(tmp_path):
    path = exported(tmp_path / "export")
    outputs = running.opened(path, "onnx", Predictor(path).signature)({"x": drawn(2, 2)})
    assert outputs.probabilities.shape == (2, 3)
    assert outputs.decision.shape == (2,)
