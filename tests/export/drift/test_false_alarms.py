"""How often a watch raises an alarm where nothing has drifted."""

import math

import numpy as np
import pytest

from lightning_posttrain.export.drift.reference import DriftReference
from lightning_posttrain.export.drift.watch import DriftWatch
from tests.export.drift.models import MODELS


def share_of_alarms(model, *, reference, window, alarms, references, windows, seed=0, worth_saying=0.0):
    """Of windows without drift, over references that are themselves drawn."""
    rng = np.random.default_rng(seed)
    draw, task = MODELS[model]
    raised = 0.0
    for _ in range(references):
        watch = DriftWatch(
            DriftReference.of(*draw(rng, reference), task=task), window=window, alarms=alarms, worth_saying=worth_saying
        )
        for _ in range(windows):
            watch.add(*draw(rng, window))
            raised += watch.figures()["alarm"]
    return raised / (references * windows)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("reference", "window"), [(200, 50), pytest.param(500, 200, marks=pytest.mark.slow)])
def test_false_alarms_are_as_rare_as_asked_for(model, reference, window):
    found = share_of_alarms(model, reference=reference, window=window, alarms=0.05, references=60, windows=15)
    assert 0.01 < found < 0.08


SIZES = [(200, 50), (200, 5000), (2000, 200), (20000, 50), (20000, 5000)]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("reference", "window"), SIZES)
def test_false_alarms_are_as_rare_as_asked_for_whatever_the_sizes(model, reference, window):
    found, alarms = (
        share_of_alarms(model, reference=reference, window=window, alarms=0.02, **much(reference, window)),
        0.02,
    )
    # alarms of one reference come together, the more so the longer its windows are
    independent = much(reference, window)["references"] * min(max(reference // window, 1), 10)
    assert found < 1.2 * alarms + 3 * math.sqrt(alarms / independent)


def much(reference, window):
    """How many are drawn: more references where these are what alarms come from."""
    references = {200: 1000, 2000: 400, 20000: 100}[reference]
    return {"references": references, "windows": min(max(reference // window, 1), 10)}


def test_an_index_that_is_not_worth_saying_makes_alarms_rarer_still():
    options = {"reference": 2000, "window": 1000, "alarms": 0.05, "references": 10, "windows": 20}
    assert share_of_alarms("classes", **options, worth_saying=0.1) <= 0.01 < share_of_alarms("classes", **options)
