"""TensorBoard's HParams tab in a real browser."""

import pytest

from lightning_posttrain.tuning import Trial, write_outputs
from tests.test_browser import ARGUMENTS, CHROMIUM, sync_api, tensorboard
from tests.tuning.studies import study

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.timeout(300),
]


def opened(url, page):
    page.goto(f"{url}/#hparams")
    page.reload()
    page.locator("tf-hparams-table-view").first.wait_for(state="visible", timeout=60_000)
    page.wait_for_timeout(1500)


def test_the_hparams_tab_has_a_row_for_each_trial_and_a_line_for_each_with_a_value(tmp_path):
    found = study(10, states=("complete", "complete", "pruned", "failed", "complete"))
    params = dict(found.trials[0].params)
    lacking = {name: value for name, value in params.items() if name != "model.width"}
    more = (Trial(10, params, "running"), Trial(11, lacking, "complete", 0.55))
    again = Trial(12, found.trials[3].params, "complete", 0.6, again=3)
    trials = (*found.trials, *more, again, Trial(13, params, "waiting"))
    write_outputs(type(found)(**{**vars(study(0)), "trials": trials}), tmp_path / "study")
    problems = []
    with tensorboard(tmp_path / "study", "study/slices") as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        opened(url, page)
        page.screenshot(path=str(tmp_path / "table.png"))
        for name in ("digits 0", "digits 2 (pruned)", "digits 8", "digits 10", "digits 11", "digits 12"):
            assert page.get_by_text(name, exact=True).count() == 1, name
        for name in ("digits 3", "digits 13"):
            assert page.get_by_text(name, exact=True).count() == 0, name
        page.get_by_text("PARALLEL COORDINATES VIEW").click()
        lines = page.locator("tf-hparams-parallel-coords-plot .foreground path")
        lines.first.wait_for(timeout=60_000)
        page.wait_for_timeout(1500)
        page.screenshot(path=str(tmp_path / "parallel.png"))
        # all but the one that failed for good, the one that runs and the one that waits
        assert lines.count() == 10
        for axis in (*params, "val/log_loss"):
            assert page.locator("tf-hparams-parallel-coords-plot").get_by_text(axis, exact=True).count(), axis
        browser.close()
    assert problems == []
