"""Processes that a Trainer starts for a run: what they find comes home, and none waits in vain for the first."""

import json
import os

import pytest

from tests import toys


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_first_rank_that_is_long_busy_ends_no_run_and_results_are_in_the_main_process(start):
    run = toys.ran("tests.busy_first_rank", start, timeout=200)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["rows"] == 37
    assert found["explained"] == 2
    assert found["results"] == [["val"], ["val"]]
    # what was fitted on validation in another process is used in this one
    assert found["method"] == "temperature"
    assert found["adjusted"]
    assert found["reason"] == ""
