"""An exported folder in MLflow, and its card in Hugging Face's parser."""

import numpy as np
import pytest

from lightning_posttrain.export.decision import Decision
from tests.export.folders import NAMES, expected, exported

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
DECISION = Decision("multiclass", NAMES, confidence=0.6)
ODD = Decision("multiclass", ("a|b", "x\n---\ny", "日本語 😀"))
TESTED = {
    "test": {"accuracy": {"value": 0.9471, "low": 0.92, "high": 0.967}, "rows": 397},
    "val": {"accuracy": {"value": 0.96}, "log_loss": {"value": 0.2}, "rows": 200},
}


def rows(number, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(number, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def pyfunc():
    return pytest.importorskip("mlflow.pyfunc")


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("decision", [DECISION, ODD])
def test_mlflow_loads_a_folder_and_answers_as_numpy(tmp_path, pyfunc, number, decision):
    model = pyfunc.load_model(str(exported(tmp_path / "export", decision)))
    given = rows(number, 2)
    answers = model.predict({"x": given})
    probabilities, decided = expected(given, decision)
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-6)
    np.testing.assert_array_equal(answers["decision"], decided)


def test_mlflow_takes_several_inputs_and_maps(tmp_path, pyfunc):
    decision = Decision("multilabel", NAMES)
    path = exported(tmp_path / "export", decision, inputs=("left", "right"), shape=(2, 4, 5))
    left, right = rows(3, 2, 4, 5), rows(3, 2, 4, 5, seed=1)
    answers = pyfunc.load_model(str(path)).predict({"left": left, "right": right})
    np.testing.assert_array_equal(answers["decision"], expected(left + right, decision)[1])


@pytest.mark.parametrize("wrong", [rows(3, 5), rows(3, 2).astype(np.float64), rows(3, 2, 2)])
def test_mlflow_refuses_other_shapes_and_types(tmp_path, pyfunc, wrong):
    exceptions = pytest.importorskip("mlflow.exceptions")
    model = pyfunc.load_model(str(exported(tmp_path / "export", DECISION)))
    with pytest.raises(exceptions.MlflowException):
        model.predict({"x": wrong})


@pytest.mark.parametrize("decision", [DECISION, ODD])
@pytest.mark.parametrize("metrics", [TESTED, {}])
def test_hugging_face_parses_the_card(tmp_path, decision, metrics):
    hub = pytest.importorskip("huggingface_hub")
    path = exported(tmp_path / "export", decision, metrics=metrics)
    card = hub.ModelCard.load(path / "README.md")
    assert card.data.library_name == "lightning-posttrain"
    assert card.data.pipeline_tag == "tabular-classification"
    assert card.data.license is None
    found = [
        (each.dataset_split, each.metric_type, each.metric_value, each.verified)
        for each in card.data.eval_results or []
    ]
    wanted = [("test", "accuracy", 0.9471, False), ("val", "accuracy", 0.96, False), ("val", "log_loss", 0.2, False)]
    assert found == (wanted if metrics else [])
    assert card.data.model_name == ("Net" if metrics else None)
