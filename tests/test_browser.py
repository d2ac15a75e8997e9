"""TensorBoard in a real browser: what a person sees is drawn, from this machine alone and without an error."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.timeout(600),
]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextlib.contextmanager
def tensorboard(folder, shown="test/saliency"):
    """A TensorBoard that has loaded an image whose tag has ``shown`` in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--samples_per_plugin", "images=100", "--load_fast=false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_loaded(url, shown)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _until_loaded(url, shown):
    for _ in range(240):
        with contextlib.suppress(OSError):
            tags = json.load(urllib.request.urlopen(f"{url}/data/plugin/images/tags", timeout=5))
            if any(shown in run for run in tags.values()):
                return
        time.sleep(0.5)
    raise TimeoutError("TensorBoard did not load the run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of the digits example; two epochs are enough to look at."""
    root = Path(__file__).parent.parent
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, str(root / "examples" / "digits.py"), "--epochs", "2", "--folder", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_every_page_is_drawn_from_this_machine_without_an_error(folder, tmp_path):
    problems = []
    with tensorboard(folder) as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.on(
            "request",
            lambda request: request.url.startswith((url, "data:", "blob:")) or problems.append(request.url),
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        drawn = {
            "scalars": "tf-scalar-card",
            "images": "tf-image-loader #main-image-container img",
            "text": "tf-text-loader tf-markdown-view",
            "pr_curves": "tf-pr-curve-card",
            "custom_scalars": "tf-custom-scalar-multi-line-chart-card",
            "timeseries": "card-view",
        }
        for plugin, element in drawn.items():
            page.goto(f"{url}/#{plugin}")
            page.reload()
            page.locator(element).first.wait_for(state="visible", timeout=60_000)
            page.wait_for_timeout(1500)
            page.screenshot(path=str(tmp_path / f"{plugin}.png"))
        page.goto(f"{url}/#images")
        page.reload()
        page.locator("tf-image-loader").first.wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        shown = [_shown(loader) for loader in page.locator("tf-image-loader").all()]
        browser.close()
    assert problems == []
    assert {tag.split("/", 1)[1] for tag, _ in shown} == {
        "confusion_matrix",
        "confusion_matrix_normalized",
        "training_at_a_glance",
        "precision_recall_curve",
        "roc_curve",
        "calibration/reliability",
        "hard_examples/confident_errors",
        "hard_examples/confused_pairs",
        "hard_examples/highest_loss",
        "hard_examples/unsure_hits",
        "saliency",
        "saliency_of_classes",
        "thresholds/risk_coverage",
    }
    assert shown[0][0] == "0_summary/training_at_a_glance"
    # twice the width at which TensorBoard shows an image, so that no pixel row is lost; single plots fill a card
    assert {width for _, width in shown} == {700, 960}


def _shown(loader):
    return loader.evaluate(
        "e => { const i = e.shadowRoot.querySelector('#main-image-container img');"
        " return [e.tag, i ? i.naturalWidth : 0] }"
    )
