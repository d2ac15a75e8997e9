"""The card and ``MLmodel``: whatever the names, YAML and tables hold."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.card import MOST_NAMES, card
from lightning_posttrain.export.folder.card_kind import pipeline_tag
from lightning_posttrain.export.folder.markup import cell, scalar, table, yaml_lines
from lightning_posttrain.export.folder.mlmodel import mlmodel
from lightning_posttrain.export.signature import Signature, TensorSpec
from tests.export.folders import NAMES, exported, manifest

ODD = (
    "a|b",
    "new\nline",
    "---",
    "日本語 😀",
    "\ud800 alone",
    "<b>&amp;",
    "`code`",
    "x\r\n---\r\ny: z",
    "\x00\x85\u2028",
    " ",
    "# h",
)
TESTED = {
    "test": {"accuracy": {"value": 0.9471, "low": 0.92, "high": 0.967}, "auroc": {"value": None}, "rows": 397},
    "val": {"accuracy": {"value": 0.96}, "rows": 200},
}
PARITY = {
    "onnx": {
        "rows": 397,
        "largest": 3.1e-8,
        "mean": 1.2e-9,
        "flips": 0,
        "decisions": 397,
        "kept": True,
        "stage": "test",
        "words": "model.onnx gives the answers that were tested",
    },
    "int8": {"rows": 397, "largest": 0.03, "mean": 0.002, "flips": 3, "kept": False, "reason": "no gain"},
    "safetensors": {"rows": 0, "largest": None, "mean": None, "flips": 0, "decisions": 0, "kept": True},
}


def front(text):
    """The YAML of a card, found as Hugging Face's parser finds it."""
    found = re.search(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))", text)
    return yaml.safe_load(found.group(2)), text[found.end() :]


def tables(text):
    """Cells of each table, with rows of equal numbers of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.M):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().splitlines()]
        assert len({len(row) for row in rows}) == 1, block
        found.append([[each.strip() for each in row] for row in rows])
    return found


@given(st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none())
def test_any_scalar_comes_back_from_yaml(value):
    text = scalar(value)
    assert text.splitlines() in ([text], [])
    assert yaml.safe_load(f"x: {text}") == {"x": value}


plain = st.recursive(
    st.text(max_size=8) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), plain, min_size=1, max_size=3))
def test_any_mapping_comes_back_from_yaml(value):
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value


@given(st.text(alphabet=st.characters(codec=None), max_size=300))
def test_any_text_is_one_cell(text):
    written = table(["a", "b"], [[text, 1]])
    assert len(written.splitlines()) == 3
    assert [len(row) for row in tables(written)[0]] == [2, 2, 2]
    written.encode()


def test_cells_have_no_markup():
    assert cell("<img src=x>") == r"\<img src=x\>"
    assert cell("[a](b) `c` *d* _e_ f_g # -") == r"\[a\](b) \`c\` \*d\* \_e\_ f_g # -"
    assert cell("# a") == r"\# a"
    assert len(cell("x" * 1000)) == 121


def test_a_card_has_what_a_reader_asks_for():
    decision = Decision(
        "multiclass",
        NAMES,
        confidence=0.7,
        calibration={"method": "temperature", "words": "temperature 1.3", "rows": 200, "parameters": [1.3]},
        mean=(0.5, 0.25),
        std=(0.1, 0.2),
        left_out=("thresholds are for other weights",),
    )
    statistics = {"x": {"low": [0.0, 0.1], "high": [1.0, 0.9], "mean": 0.5, "std": None}}
    said = manifest(
        decision, metrics=TESTED, parity=PARITY, input_statistics=statistics,
        weights={"words": "the best, epoch 3", "step": 7, "monitor": "val/loss", "value": 0.12345},
        data={"test": {"rows": 397, "fingerprint": "abc"}}, files={"model.onnx": {"sha256": "0", "bytes": 1}},
    )  # fmt: skip
    head, body = front(card(said))
    assert head["library_name"] == "lightning-posttrain"
    assert head["pipeline_tag"] == "tabular-classification"
    assert head["tags"] == ["lightning", "lightning-posttrain", "multiclass", "onnx"]
    assert "license" not in head
    (model,) = head["model-index"]
    assert model["name"] == "Net"
    assert [result["dataset"]["split"] for result in model["results"]] == ["test", "val"]
    assert model["results"][0]["metrics"] == [
        {"type": "accuracy", "value": 0.9471, "name": "accuracy", "verified": False}
    ]
    for part in (
        "float32",
        "low 0, 0.1; high 1, 0.9; mean 0.5",
        "mean 0.5, 0.25 and standard deviation 0.1, 0.2",
        "no answer where none reaches 0.7",
        "No answer is -1.",
        "calibrated: temperature 1.3, fitted on 200 rows",
        "thresholds are for other weights",
        "| figure | test, 397 rows | val, 200 rows |",
        "| accuracy | 0.9471 (0.9200 to 0.9670) | 0.9600 |",
        "Weights: the best, epoch 3, step 7, val/loss 0.1235.",
        "lightning-posttrain serve . --port 8000",
        "it proves no origin",
    ):
        assert part in body
    parity = next(found for found in tables(body) if "flipped" in found[0])
    assert parity[2] == ["onnx", "test", "397", "3.1e-08", "1.2e-09", "0 of 397", "yes"]
    assert parity[3] == ["int8", "", "397", "0.03", "0.002", "3", "no"]
    assert parity[4] == ["safetensors", "", "", "", "", "", "yes"]
    assert "- model.onnx gives the answers that were tested.\n" in body


def test_odd_names_break_neither_yaml_nor_tables():
    said = manifest(Decision("multiclass", ODD), metrics={"te\nst": {"a|b": {"value": 0.5}, "rows": 1}})
    object.__setattr__(said, "name", "x\n---\nlicense: mit\n---\n\ud800")
    text = card(said)
    head, body = front(text)
    assert head["model-index"][0]["name"].startswith("x\n---\n")
    assert "license" not in head
    classes = next(found for found in tables(body) if found[0] == ["index", "class"])
    assert len(classes) == 2 + len(ODD)
    text.encode()


def test_a_thousand_classes_are_listed_in_part():
    said = manifest(Decision("multilabel", tuple(f"label {n}" for n in range(1000)), thresholds=(0.25,) * 1000))
    body = card(said)
    assert body.count("| 0.25 |") == MOST_NAMES
    assert f"and {1000 - MOST_NAMES} more, in `manifest.json`" in body


def test_a_model_that_was_not_tested_says_so_and_has_no_results():
    head, body = front(card(manifest()))
    assert "model-index" not in head
    assert "It was not tested" in body
    assert "## Parity" not in body


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "decision", "tag"),
    [
        ("x", "float32", (None, 3, 32, 32), (None,), "image-classification"),
        ("x", "uint8", (None, 3, 32, 32), (None,), "image-classification"),
        ("x", "float32", (None, 3, 32, 32), (None, 32, 32), "image-segmentation"),
        ("x", "float32", (None, 12), (None,), "tabular-classification"),
        ("input_ids", "int64", (None, None), (None,), "text-classification"),
        ("x", "int64", (None, 4), (None,), None),
        ("x", "float32", (None, 100, 12), (None,), None),
    ],
)
def test_the_pipeline_is_that_of_task_and_input_or_left_out(name, dtype, shape, decision, tag):
    found = Signature((TensorSpec(name, dtype, shape),), (TensorSpec("decision", "int64", decision),))
    assert pipeline_tag(found, Decision("multiclass", NAMES)) == tag


@pytest.mark.parametrize("inputs", [("x",), ("left", "right")])
def test_the_code_of_a_card_runs_as_it_stands(tmp_path, inputs):
    path = exported(tmp_path / "export", inputs=inputs)
    blocks = re.findall(r"```python\n(.*?)```", (path / "README.md").read_text(), flags=re.S)
    assert len(blocks) == 2
    root = __file__.partition("/tests/")[0]
    for block in blocks:
        code = f"import sys; sys.path.insert(0, {root!r})\n{block}"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=path, capture_output=True)


def test_mlmodel_is_yaml_with_the_signature_as_json():
    said = manifest(Decision("multilabel", NAMES), inputs=("left", "right"), shape=(2, 5, 5))
    read = yaml.safe_load(mlmodel(said))
    assert set(read["flavors"]) == {"onnx", "python_function"}
    assert read["flavors"]["python_function"]["loader_module"] == "mlflow.onnx"
    inputs = json.loads(read["signature"]["inputs"])
    assert inputs[0] == {"name": "left", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2, 5, 5]}}
    assert [each["name"] for each in json.loads(read["signature"]["outputs"])] == ["probabilities", "decision"]


def test_the_shape_in_a_card_is_that_of_the_signature():
    assert "| x | float32 | (N, 3, 8, 8) |" in card(manifest(shape=(3, 8, 8)))
