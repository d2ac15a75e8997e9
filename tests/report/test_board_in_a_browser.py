"""TensorBoard of a run with hyperparameters: what comes first on each page, and what stands together."""

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_posttrain import GeneralizationGap, posttrain_suite
from tests import toys
from tests.report.test_told import Tuned
from tests.test_browser import ARGUMENTS, CHROMIUM, sync_api, tensorboard

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.timeout(600),
]
SECONDS = 60_000


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Opens a page of TensorBoard, waits for an element, and keeps a picture of it."""
    folder = tmp_path_factory.mktemp("run")
    trainer = toys.quiet(
        [*posttrain_suite(on_error="raise"), GeneralizationGap()],
        logger=TensorBoardLogger(folder),
        max_epochs=3,
        log_every_n_steps=1,
    )
    module = Tuned()
    trainer.fit(module, toys.loader(), toys.loader())
    trainer.test(module, toys.loader(), verbose=False)
    with tensorboard(folder) as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": 1500, "height": 1000})

        def shown(plugin, element):
            opened.goto(f"{url}/#{plugin}")
            opened.reload()
            opened.locator(element).first.wait_for(state="visible", timeout=SECONDS)
            opened.wait_for_timeout(2000)
            opened.screenshot(path=str(folder / f"{plugin}.png"))
            return opened

        yield shown
        browser.close()


def test_time_series_begins_with_the_curves_of_the_training(page):
    shown = page("timeseries", "card-view")
    first = shown.locator("card-view").first
    assert "training_at_a_glance" in first.inner_text()
    card, picture = first.bounding_box(), first.locator("img").bounding_box()
    assert picture["width"] > 0.6 * card["width"]


def test_texts_begin_with_what_is_to_be_known(page):
    shown = page("text", "tf-text-loader tf-markdown-view")
    assert shown.locator("tf-text-loader").first.evaluate("e => e.tag") == "0_summary/test"
    assert shown.get_by_text("of 37 rows are right").count() == 2


def test_training_stands_with_validation_in_a_chart(page):
    shown = page("custom_scalars", "tf-custom-scalar-multi-line-chart-card")
    for group in ("training with validation", "before with after calibration"):
        assert shown.get_by_text(group).count() == 1
    assert shown.get_by_text("Matches (2)").count() >= 2


def test_hyperparameters_stand_beside_final_metrics(page):
    shown = page("hparams", "tf-hparams-table-view")
    assert shown.get_by_text("val/accuracy").count() >= 1
    assert shown.get_by_text("rate", exact=True).count() >= 1
    assert shown.get_by_text("hp_metric").count() == 0
    assert shown.get_by_text("-1.0000").count() == 0
