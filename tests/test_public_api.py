"""What users hold on to stays: names, arguments, tags, files, and what a checkpoint of an earlier release holds."""

import json
import re

import pytest
import torch

from lightning_posttrain import Calibration, DecisionThresholds, GeneralizationGap, LabelErrors
from tests import public_api, toys

RECORD = json.loads((public_api.DATA / "public_api.json").read_text())
CHECKPOINT = public_api.DATA / "before_the_wings.ckpt"


@pytest.mark.parametrize("module", RECORD["names"])
def test_every_public_name_is_still_there(module):
    assert set(RECORD["names"][module]) <= set(public_api.names()[module])


@pytest.mark.parametrize("name", RECORD["signatures"])
def test_everything_public_takes_the_arguments_that_it_took(name):
    before, now = RECORD["signatures"][name], public_api.signatures()[name]
    assert set(before) <= set(now)
    told = {"task": "'multiclass'", "scores": "'logits'"}  # by the step now, where they are not said
    if name == ".StreamCallback":
        before = {key: "None" if told.get(key) == value else value for key, value in before.items()}
    both = {key: (before[key], now[key]) for key in before if "..." not in (before[key], now[key])}
    assert {key: value for key, (_, value) in both.items()} == {key: value for key, (value, _) in both.items()}
    assert [key for key in now if now[key] == "required"] == [key for key in before if before[key] == "required"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        return public_api.run()


def numberless(texts):
    return {re.sub(r"\d+", "#", text) for text in texts}


@pytest.mark.slow
def test_a_run_logs_and_writes_under_the_names_that_it_had(run):
    assert run["tags"] == RECORD["run"]["tags"]
    assert run["logged"] == RECORD["run"]["logged"]
    assert numberless(run["files"]) == numberless(RECORD["run"]["files"])


@pytest.mark.slow
def test_states_have_the_keys_and_parts_that_they_had(run):
    assert run["states"] == RECORD["run"]["states"]


@pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:The loaded checkpoint was produced with"
)
def test_what_an_earlier_release_fitted_is_loaded_and_applied():
    kept = torch.load(CHECKPOINT, weights_only=True)["callbacks"]
    calibration, thresholds, gap = Calibration(), DecisionThresholds(), GeneralizationGap()
    trainer = toys.quiet([calibration, thresholds, LabelErrors()])
    trainer.test(toys.Net(), toys.loader(), ckpt_path=CHECKPOINT, verbose=False)
    fitted = kept["Calibration{'name': None}"]["fitted"]
    for callback in (calibration, thresholds):
        before = kept[callback.state_key]["fitted"]
        assert public_api.shape_of(callback.fitted) == public_api.shape_of(before)
    assert calibration.fitted["method"] == fitted["method"]
    assert calibration.for_these(trainer.lightning_module) is not None
    gap.load_state_dict(kept["GeneralizationGap{'name': None}"])
    assert gap.state_dict() == kept["GeneralizationGap{'name': None}"]
    report = calibration.results["test"]
    reasons = ("nothing was fitted on validation", "what was fitted is for other weights")
    assert report.reason not in reasons
