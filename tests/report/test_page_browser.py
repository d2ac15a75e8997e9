"""The page in a real browser, opened from the disk: drawn, quiet, within its width, and used by mouse and keyboard."""

import contextlib
import re

import pytest

from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report import findings
from lightning_posttrain.report.page.writing import write_report
from tests.report import runs
from tests.test_browser import ARGUMENTS, CHROMIUM, sync_api

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.timeout(600),
]
SMALL, LARGE = (390, 844), (1280, 900)
INK = """() => {
  const canvas = document.getElementById("matrix");
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, folder, size=LARGE, scheme="light"):
    """The page of a run in a window, and what went wrong in it."""
    path = write_report(RunFolder(folder), "test", findings)
    assert path.stat().st_size < 3_000_000
    problems = []
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.on("console", lambda said: problems.append(said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or problems.append(asked.url))
    page.goto(f"file://{path}")
    try:
        yield page
        assert problems == []
        assert page.evaluate("window.pwned") is None
    finally:
        page.close()


def kinds(folder):
    """Runs with inputs of each kind, by name."""
    names = runs.names_of(3)
    made = {name: runs.run(folder / name) for name in ("photographs", "segmentation", "text", "table")}
    runs.add_samples(made["photographs"], names, size=256)
    runs.add_samples(made["segmentation"], names, size=64, parts=("", "_truth", "_prediction", "_error"))
    runs.add_samples(made["text"], names, text="a very long text " * 40)
    runs.add_samples(made["table"], names, features=[f"feature {n}" for n in range(30)])
    return made


@pytest.mark.parametrize("classes", [3, 30, 1000])
@pytest.mark.parametrize(("size", "scheme"), [(LARGE, "light"), (LARGE, "dark"), (SMALL, "light"), (SMALL, "dark")])
def test_any_number_of_classes_is_drawn_quietly_at_any_width(browser, classes, size, scheme, tmp_path):
    runs.run(tmp_path, classes, hostile=True)
    runs.add_samples(tmp_path, runs.names_of(classes, hostile=True), size=64)
    with opened(browser, tmp_path, size, scheme) as page:
        assert page.evaluate(INK) > 4
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        assert re.match(r"\d+ of 40 \(\d+ %\): ", page.locator("#cell").inner_text())
        page.screenshot(path=str(tmp_path / f"{classes}_{size[0]}_{scheme}.png"), full_page=True)


@pytest.mark.parametrize(("size", "scheme"), [(LARGE, "light"), (SMALL, "dark")])
def test_inputs_of_each_kind_open_large(browser, size, scheme, tmp_path):
    for kind, folder in kinds(tmp_path).items():
        with opened(browser, folder, size, scheme) as page:
            page.locator("#gallery .open").first.click()
            dialog = page.locator("#large")
            assert dialog.locator("h3").inner_text() == "Sample #0"
            assert dialog.locator("progress").count() == 3
            pictures = {"photographs": 1, "segmentation": 4}.get(kind, 0)
            assert dialog.locator("img").count() == pictures
            assert dialog.evaluate("e => [...e.querySelectorAll('img')].every(i => i.naturalWidth > 40)")
            assert page.evaluate("document.documentElement.scrollWidth") == size[0]
            page.screenshot(path=str(tmp_path / f"{kind}_{size[0]}_{scheme}.png"))
            page.keyboard.press("ArrowRight")
            assert dialog.locator("h3").inner_text() == "Sample #1"
            page.keyboard.press("Escape")
            assert not dialog.evaluate("e => e.open")


def test_a_cell_is_found_by_arrows_and_leads_to_its_samples(browser, tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=64)
    with opened(browser, tmp_path) as page:
        page.select_option("#order", "given")
        page.focus("#matrix")
        for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)
        assert "class 0 predicted as it is" in page.locator("#cell").inner_text()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert page.locator("#cell").inner_text().endswith("class 0 taken for class 1")
        assert page.locator("#cell-samples img").count() == 8
        page.locator("#cell-samples button").nth(1).click()
        assert page.locator("#large h3").inner_text() == "Sample #1"


def test_pointing_at_a_cell_says_its_names_and_clicking_shows_its_samples(browser, tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=64)
    with opened(browser, tmp_path) as page:
        page.select_option("#order", "given")
        box = page.locator("#matrix").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.3)
        said = page.locator("#cell").inner_text()
        page.mouse.down()
        page.mouse.up()
        assert page.locator("#cell").inner_text() == said
        assert "class" in said


def test_filters_leave_the_samples_that_fit(browser, tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=64)
    with opened(browser, tmp_path) as page:
        seen = page.locator("#gallery > figure:visible")
        assert seen.count() == 21
        page.get_by_role("button", name="Show all 30").click()
        assert seen.count() == 30
        page.locator('[data-tag="sure and wrong"]').click()
        assert seen.count() == 7
        page.locator('[data-tag="label?"]').click()
        assert seen.count() == 1
        page.locator('[data-tag="unsure but right"]').click()
        page.select_option("#pair", index=1)
        assert seen.count() == 0
        assert page.locator("#none-fits").is_visible()


def test_the_table_of_classes_sorts_all_of_them(browser, tmp_path):
    runs.run(tmp_path, 30)
    with opened(browser, tmp_path) as page:
        first = page.locator("#class-table tbody tr").first.locator("th")
        assert first.inner_text() == "class 0"
        head = page.locator("#class-table thead button").first
        head.click()
        head.click()
        assert first.inner_text() == "class 29"
        page.get_by_role("button", name="Show all 30 classes").click()
        assert page.locator("#class-table tbody tr").count() == 30


def test_the_slider_says_what_is_left_of_the_errors(browser, tmp_path):
    runs.run(tmp_path)
    with opened(browser, tmp_path) as page:
        before = page.locator("#answered").inner_text()
        page.locator("#coverage").focus()
        page.keyboard.press("Home")
        assert page.locator("#answered").inner_text() != before
        page.keyboard.press("End")
        assert "100 % of rows get an answer, 40.0 % of these are wrong" in page.locator("#answered").inner_text()


def test_on_paper_all_is_unfolded_in_light_colours(browser, tmp_path):
    runs.run(tmp_path)
    with opened(browser, tmp_path, scheme="dark") as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0


def test_the_first_screen_and_the_tables_are_there_without_scripts(browser, tmp_path):
    runs.run(tmp_path, 30)
    runs.add_samples(tmp_path, runs.names_of(30), size=64)
    path = write_report(RunFolder(tmp_path), "test", findings)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{path}")
    assert "%" in page.locator(".big").inner_text()
    assert page.locator("#in-short li").first.is_visible()
    assert page.locator("#gallery > figure:visible").count() == 30
    assert page.locator("#class-table tbody tr:visible").count() == 20
    context.close()
