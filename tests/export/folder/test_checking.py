"""Parity again, elsewhere: formats on rows of files, compared with what is known of these."""

import sys
import zipfile

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from lightning_posttrain.export import check
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.checking import check_command
from lightning_posttrain.export.folder.target_figures import LARGEST_LOSS, TargetFigures
from lightning_posttrain.export.outputs import Outputs
from tests.export.folders import NAMES, WEIGHTS, expected, exported, model

DECISION = Decision("multiclass", NAMES)
TESTED = {"test": {"accuracy": {"value": 0.75, "low": 0.7, "high": 0.8}, "ece": {"value": 0.1}, "rows": 300}}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def rows():
    return drawn(2500, 2)


@pytest.fixture
def known(rows):
    probabilities, decision = expected(rows, DECISION)
    target = np.where(np.arange(len(rows)) % 4 == 0, 2, decision)
    return {"x": rows, "probabilities": probabilities, "decision": decision, "target": target}


def test_answers_that_are_those_of_the_data_pass_with_the_figures_of_scikit_learn(tmp_path, known):
    np.savez(tmp_path / "rows.npz", **known)
    report = check(exported(tmp_path / "export", metrics=TESTED), [tmp_path / "rows.npz"])
    (found,) = report.formats
    assert report.ok
    assert (report.rows, report.against, found.counts.rows, found.counts.flips) == (2500, ("data",), 2500, 0)
    assert 0 <= found.counts.largest < 1e-6
    assert found.figures["accuracy"] == accuracy_score(known["target"], known["decision"])
    np.testing.assert_allclose(found.figures["log_loss"], log_loss(known["target"], known["probabilities"]), rtol=1e-5)
    assert report.tested == {"test": {"accuracy": TESTED["test"]["accuracy"]}}
    lines = str(report).splitlines()
    assert lines[0] == "2,500 rows, every file as it was written"
    assert " ".join(lines[1].split()) == "format compared with largest difference flipped accuracy log loss"
    assert lines[2].startswith("onnx")
    assert "0 of 2,500" in lines[2]
    assert lines[2].endswith("ok")
    assert lines[3].split() == ["tested", "(test)", "0.7500", "(0.7000", "to", "0.8000)"]


def test_a_flip_and_a_difference_each_fail(tmp_path, known):
    path = exported(tmp_path / "export")
    flipped = {**known, "decision": known["decision"].copy()}
    flipped["decision"][7] = (flipped["decision"][7] + 1) % 3
    shifted = {**known, "probabilities": known["probabilities"] + np.float32(2e-4)}
    for wrong in (flipped, shifted):
        np.savez(tmp_path / "rows.npz", **wrong)
        code, said = check_command(path, [tmp_path / "rows.npz"])
        assert code == 1
        assert "NOT THE SAME" in said
    assert check_command(path, [tmp_path / "rows.npz"], tolerance=1e-3)[0] == 0


def test_formats_are_compared_with_the_first_where_the_data_know_nothing(tmp_path, rows):
    off = {"model.int8.onnx": model(DECISION, weights=WEIGHTS + np.float32(0.01))}
    wrong = {"model.int8.onnx": model(DECISION, weights=-WEIGHTS)}
    np.save(tmp_path / "rows.npy", rows)
    for files, code in ((off, 0), (wrong, 1)):
        path = exported(tmp_path / "export", files=files)
        report = check(path, [tmp_path / "rows.npy"])
        assert report.against == ("onnx",)
        assert [found.format for found in report.formats] == ["onnx", "int8"]
        assert [found.counts.rows for found in report.formats] == [0, 2500]
        assert check_command(path, [tmp_path / "rows.npy"])[0] == code
    there = expected(rows, DECISION, -WEIGHTS)[1] != expected(rows, DECISION)[1]
    assert report.formats[1].counts.flips == there.sum()


def test_one_format_and_data_that_know_nothing_are_run_and_that_is_said(tmp_path, rows):
    np.savez(tmp_path / "rows.npz", rows)
    code, said = check_command(exported(tmp_path / "export"), [tmp_path / "rows.npz"])
    assert code == 0
    assert "nothing to compare with: give `probabilities` and `decision` in the data" in said
    assert "runs" in said


def test_folders_and_patterns_name_files_each_once(tmp_path, rows):
    (tmp_path / "data").mkdir()
    for number in range(3):
        np.save(tmp_path / "data" / f"{number}.npy", rows[:10])
    (tmp_path / "data" / "notes.txt").write_text("")
    data = [tmp_path / "data", str(tmp_path / "data" / "*.npy"), tmp_path / "data" / "0.npy"]
    assert check(exported(tmp_path / "export"), data).rows == 30


def test_several_inputs_labels_and_maps_are_checked(tmp_path):
    for number, (task, shape) in enumerate(
        [("multilabel", (2,)), ("multiclass", (2, 3, 4)), ("multilabel", (2, 3, 4))]
    ):
        decision = Decision(task, NAMES)
        left, right = drawn(9, *shape), drawn(9, *shape, seed=1)
        probabilities, decided = expected(left + right, decision)
        file = tmp_path / f"{number}.npz"
        np.savez(file, left=left, right=right, probabilities=probabilities, decision=decided, target=decided)
        path = exported(tmp_path / f"export{number}", decision, inputs=("left", "right"), shape=shape)
        report = check(path, [file])
        assert report.ok
        assert report.formats[0].figures["accuracy"] == 1
        assert report.formats[0].counts.decisions == decided.size


def test_rows_without_an_answer_or_a_target_are_told_apart():
    sums = TargetFigures()
    probabilities = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    sums.add(np.array([0, 0, 1, -1]), Outputs(probabilities, np.array([0, 1, -1, 0])), "multiclass")
    assert (sums.decisions, sums.right, sums.without) == (2, 1, 1)
    assert sums.values()["accuracy"] == 0.5
    np.testing.assert_allclose(sums.values()["log_loss"], log_loss([0, 0, 1], probabilities[:3]))
    assert TargetFigures().values() == {}


def test_a_class_of_no_probability_leaves_the_loss_a_number():
    sums = TargetFigures()
    sums.add(np.array([1]), Outputs(np.array([[1.0, 0.0]]), np.array([0])), "binary")
    assert sums.values()["log_loss"] == LARGEST_LOSS


def test_answers_that_are_not_finite_are_not_the_same(tmp_path, known):
    known["probabilities"] = known["probabilities"].copy()
    known["probabilities"][3, 1] = np.nan
    np.savez(tmp_path / "rows.npz", **known)
    assert not check(exported(tmp_path / "export"), [tmp_path / "rows.npz"]).ok


@pytest.mark.parametrize("calibration", [None, {"method": "temperature", "words": "T", "parameters": {}, "rows": 9}])
def test_a_flip_of_a_tie_passes_where_what_decides_is_known(tmp_path, calibration):
    rows = np.array([[1.0, 1.2], [3.0, 0.0]], dtype=np.float32)  # each logit of the first is 0.8
    probabilities, decision = expected(rows, DECISION)
    np.savez(tmp_path / "rows.npz", x=rows, probabilities=probabilities, decision=(decision + np.array([1, 0])) % 3)
    path = exported(tmp_path / "export", Decision("multiclass", NAMES, calibration=calibration))
    code, said = check_command(path, [tmp_path / "rows.npz"])
    assert code == int(calibration is not None)
    assert ("1 of 2, ties" in said) == (calibration is None)


def test_data_may_know_probabilities_or_decisions_alone(tmp_path, known):
    path = exported(tmp_path / "export")
    for left_out, part in (("decision", "0 of 2,500"), ("probabilities", "e-0")):
        np.savez(tmp_path / "rows.npz", **{name: array for name, array in known.items() if name != left_out})
        report = check(path, [tmp_path / "rows.npz"])
        assert report.ok
        assert part not in str(report)
        assert (report.formats[0].counts.decisions, report.formats[0].counts.values) in ((0, 7500), (2500, 0))


def test_a_format_that_needs_torch_is_left_out_in_words(tmp_path, rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("lightning_posttrain.export.folder.pt2._checked", lambda path: {})
    path = exported(tmp_path / "export", files={"model.pt2": b""})
    np.save(tmp_path / "rows.npy", rows)
    code, said = check_command(path, [tmp_path / "rows.npy"])
    assert code == 0
    assert "pt2 is left out: A '.pt2' needs torch: pip install torch" in said


def pickled(path):
    np.savez(path, x=np.array([{"a": 1}], dtype=object))


def damaged(path):
    np.savez(path, x=np.zeros((2, 2)))
    path.write_bytes(path.read_bytes()[:-40])


def broken(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (pickled, "is not read: Object arrays cannot be loaded"),
        (damaged, "is not read: "),
        (broken, "is not read: "),
        (lambda path: path.write_bytes(b""), "is not read: "),
        (lambda path: path.write_bytes(b"\x80\x04K\x01."), "is not read: "),
        (np.savez, "has no array, wanted x, and, where known, probabilities, decision, target"),
        (lambda path: np.savez(path, y=np.zeros((2, 2)), z=np.zeros((2, 2))), r"has y \(2, 2\), z \(2, 2\), wanted x"),
        (lambda path: np.savez(path, x=np.zeros((2, 2)), extra=np.zeros(2)), "wanted x"),
        (lambda path: np.savez(path, probabilities=np.zeros((2, 3))), "wanted x"),
        (lambda path: np.savez(path, x=np.zeros((0, 2))), "has no rows"),
        (lambda path: np.savez(path, x=np.float32(1)), r"different numbers of rows: x \(\)"),
        (lambda path: np.savez(path, x=np.zeros((2, 2)), target=np.zeros(3, int)), "different numbers of rows"),
        (lambda path: np.savez(path, x=np.zeros((2, 3))), r"rows from 0: `x` has shape \(2, 3\), wanted"),
        (lambda path: np.savez(path, x=np.full((2, 2), np.nan)), "rows from 0: `x` has a number that is not finite"),
        (lambda path: np.savez(path, x=np.zeros((2, 2)), target=np.zeros(2)), "`target` is float64"),
        (lambda path: np.savez(path, x=np.zeros((2, 2)), target=np.full(2, 3)), "wanted whole numbers below 3"),
        (
            lambda path: np.savez(path, x=np.zeros((2, 2)), target=np.array(["a", "b"])),
            "`target` of <U1, wanted numbers",
        ),
        (lambda path: np.savez(path, x=np.zeros((2, 2)), decision=np.zeros((2, 3), int)), "`decision` has shape"),
        (lambda path: np.savez(path, x=np.zeros((2, 2)), probabilities=np.zeros((2, 2))), "`probabilities` has shape"),
    ],
)
def test_data_that_are_none_end_with_2_and_say_why(tmp_path, write, said):
    write(tmp_path / "rows.npz")
    path = exported(tmp_path / "export")
    assert check_command(path, [tmp_path / "rows.npz"])[0] == 2
    with pytest.raises(ValueError, match=f"'rows.npz'.*{said}"):
        check(path, [tmp_path / "rows.npz"])


@pytest.mark.parametrize("data", [[], ["none.npz"], ["*.npz"], ["."], ["notes.txt"]])
def test_paths_without_rows_are_said(tmp_path, data):
    (tmp_path / "notes.txt").write_text("")
    code, said = check_command(exported(tmp_path / "deep" / "export"), [tmp_path / name for name in data])
    assert code == 2
    assert said.startswith("`data` ")
    assert "wanted files `.npz` or `.npy`" in said


def test_a_folder_that_was_changed_and_a_wrong_tolerance_end_with_2(tmp_path, rows):
    np.save(tmp_path / "rows.npy", rows)
    path = exported(tmp_path / "export")
    assert check_command(path, [tmp_path / "rows.npy"], tolerance=-1)[0] == 2
    assert check_command(path, [tmp_path / "rows.npy"], tolerance=float("nan"))[0] == 2
    (path / "MLmodel").write_text("")
    code, said = check_command(path, [tmp_path / "rows.npy"])
    assert code == 2
    assert said.startswith("'MLmodel' was changed")


def test_a_folder_without_a_format_that_runs_is_said(tmp_path, rows):
    np.save(tmp_path / "rows.npy", rows)
    path = exported(tmp_path / "export", files={"weights.safetensors": b"w"}, onnx=False)
    code, said = check_command(path, [tmp_path / "rows.npy"])
    assert code == 2
    assert "has no format that can be run here: it has README.md, weights.safetensors" in said
