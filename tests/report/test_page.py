import base64
import hashlib
import html
import itertools
import json
import re
import time

import numpy as np
import pytest

from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report import findings
from lightning_posttrain.report.page.sections.counts import Counts
from lightning_posttrain.report.page.writing import write_report
from tests.report import runs


def page_of(folder, stage="test", said=findings):
    return write_report(RunFolder(folder), stage, said).read_text(encoding="utf-8")


def anchors(page):
    return re.findall(r'<section id="([\w-]+)"', page)


def data_of(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL).group(1))


def text_of(page, anchor):
    """The words of a section."""
    part = re.search(rf'<section id="{anchor}".*?</section>', page, re.DOTALL).group(0)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split())


def test_the_sections_stand_in_their_order_and_those_without_files_are_left_out(tmp_path):
    page = page_of(runs.run(tmp_path))
    assert anchors(page) == ["in-short", "what-goes-wrong", "classes", "believed", "training", "how-made"]
    runs.add_samples(tmp_path, runs.names_of(3), size=32)
    assert anchors(page_of(tmp_path))[2] == "look-at-them"
    assert re.findall(r"<h([1-6])", page)[0] == "1"
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert all(later - before <= 1 for before, later in itertools.pairwise(levels))


def test_the_policy_lets_this_style_and_script_pass_and_nothing_else(tmp_path):
    page = page_of(runs.run(tmp_path))
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1))
    assert policy.startswith("default-src 'none'; img-src data:;")
    for name in ("style", "script"):
        text = re.search(rf"<{name}>(.*?)</{name}>", page, re.DOTALL).group(1)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    body = page.split("</style>")[1].split("<script>")[0]
    assert not re.search(r"<[^>]*\s(style|on\w+)=", body)
    assert not re.search(r'(src|href)="(https?:)?//', body)


def test_hostile_names_stand_in_the_page_as_text_alone(tmp_path):
    runs.run(tmp_path, 10, hostile=True)
    runs.add_samples(tmp_path, list(runs.HOSTILE), size=32, text="<script>window.pwned=1</script>")
    page = page_of(tmp_path)
    assert data_of(page)["what-goes-wrong"]["names"] == list(runs.HOSTILE)
    assert page.count("<script") == 2
    assert page.count("<style") == 1
    assert "<img src=x" not in page
    assert "\n# " not in (tmp_path / "posttrain" / "test" / "report.md").read_text().removeprefix("# ")


@pytest.mark.parametrize("name", ["confusion_matrix", "classification_report", "calibration", "thresholds"])
@pytest.mark.parametrize("content", ["{broken", '{"class_names": 3, "per_class": 5, "before": 7, "coverage": "x"}'])
def test_a_broken_record_costs_its_own_section_alone_and_is_named(name, content, tmp_path):
    runs.run(tmp_path)
    (tmp_path / "posttrain" / "test" / f"{name}.json").write_text(content)
    page = page_of(tmp_path)
    assert "Could not be shown" in text_of(page, "how-made")
    assert {"training", "how-made"} <= set(anchors(page))
    whole = {"in-short", "what-goes-wrong", "classes", "believed", "training", "how-made"}
    assert len(whole - set(anchors(page))) <= 2


def test_findings_that_fail_cost_themselves_alone(tmp_path):
    def stumble(folder, stage):
        raise RuntimeError("no words")

    page = page_of(runs.run(tmp_path), said=stumble)
    assert "The findings: RuntimeError, no words." in text_of(page, "how-made")
    assert "in-short" in anchors(page)


def test_a_finding_links_to_its_section_only_where_that_is_there(tmp_path):
    class Said:
        def __init__(self, text, anchor):
            self.text, self.anchor, self.level = text, anchor, "warn"

    page = page_of(runs.run(tmp_path), said=lambda *_: [Said("one < two", "classes"), Said("none", "export")])
    assert '<a href="#classes">one &lt; two</a>' in page
    assert 'href="#export"' not in page


def test_the_first_figure_has_the_interval_of_the_report_and_the_base_that_a_person_would_work_out(tmp_path):
    page = page_of(runs.run(tmp_path))
    counts = runs.matrix(3)
    right, rows = int(counts.trace()), int(counts.sum())
    record = json.loads((tmp_path / "posttrain" / "test" / "classification_report.json").read_text())
    low, high = record["intervals"]["accuracy"]
    said = text_of(page, "in-short")
    assert f"{right} of {rows} right" in said
    assert f"95 % interval {100 * low:.0f} to {100 * high:.0f} %" in said
    assert f"most frequent class: {100 * counts.sum(1).max() / rows:.0f} %" in said


def test_positions_of_one_sample_get_no_interval(tmp_path):
    runs.run(tmp_path)
    place = tmp_path / "posttrain" / "test" / "classification_report.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "intervals": {}}))
    page = page_of(tmp_path)
    assert "interval" not in re.search(r'<div class="headline">.*?</div>', page, re.DOTALL).group(0)
    assert "95 % interval" not in data_of(page)["believed"]["answered"][0]


def test_a_thousand_classes_take_few_seconds_and_few_bytes(tmp_path):
    runs.run(tmp_path, 1000, epochs=50)
    runs.add_samples(tmp_path, runs.names_of(1000), size=64)
    begun = time.process_time()
    page = page_of(tmp_path)
    assert time.process_time() - begun < 10
    assert len(page) < 3_000_000
    assert len(data_of(page)["classes"]["rows"]) == 980
    assert "980 more" in text_of(page, "classes")


def test_pictures_beyond_the_budget_are_named_with_their_folder(tmp_path, monkeypatch):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=64)
    monkeypatch.setattr("lightning_posttrain.report.page.writing.SAMPLES", 20_000)
    page = page_of(tmp_path)
    assert re.search(r"\d+ more pictures in", text_of(page, "look-at-them"))
    assert sum(map(len, re.findall(r'src="(data:[^"]+)"', page))) <= 20_000


@pytest.mark.slow
def test_large_photographs_keep_within_three_megabytes(tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=1024, count=40)
    assert len(page_of(tmp_path)) < 3_000_000


def test_a_sample_that_several_rules_chose_stands_once_with_all_its_tags(tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=32)
    page = page_of(tmp_path)
    figures = re.findall(r'<figure data-at="\d+" data-tags="([^"]*)"', page)
    assert len(figures) == 30
    assert figures[0].split("\n") == ["highest loss", "sure and wrong", "confused pair", "label?"]
    first = data_of(page)["look-at-them"]["samples"][0]
    assert first["top"] == [["class 0", 0.8], ["class 1", 0.1], ["class 2", 0.05]]


def test_truth_and_prediction_beside_a_picture_stand_beside_it(tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), size=32, parts=("", "_truth", "_prediction", "_error"))
    page = page_of(tmp_path)
    first = re.search(r'<figure data-at="0".*?</figure>', page, re.DOTALL).group(0)
    assert re.findall(r"<small>(\w+)</small></span>", first) == ["input", "truth", "prediction", "error"]
    assert first.count("<img") == 4


def test_features_of_rows_stand_by_their_names(tmp_path):
    runs.run(tmp_path)
    runs.add_samples(tmp_path, runs.names_of(3), features=("mean radius", "<b>"))
    page = page_of(tmp_path)
    assert data_of(page)["look-at-them"]["samples"][0]["values"] == [["mean radius", "0.25"], ["<b>", "1.25"]]
    assert "&lt;b&gt;" in page


def test_the_footer_says_the_size_of_the_page(tmp_path):
    page = page_of(runs.run(tmp_path))
    said = int(re.search(r"Size: (\d+) kB", page).group(1))
    assert said == pytest.approx(len(page.encode()) / 1000, abs=1)


def test_the_summary_has_about_twenty_lines(tmp_path):
    page_of(runs.run(tmp_path, 30))
    text = (tmp_path / "posttrain" / "test" / "report.md").read_text()
    assert text.startswith("# ")
    assert "| accuracy |" in text
    assert "(report.html)" in text
    assert 8 <= len(text.splitlines()) <= 26


def test_curves_of_training_and_validation_stand_in_one_plot_with_their_table(tmp_path):
    said = text_of(page_of(runs.run(tmp_path, epochs=3)), "training")
    assert "loss train 0.333, val 0.444" in said
    assert "epoch train val 0 1.000 1.111 1 0.500 0.611" in said


def test_classes_that_are_confused_stand_beside_each_other():
    counts = np.eye(6, dtype=int) * 30
    for one, other in ((0, 3), (1, 4), (2, 5)):
        counts[one, other] = counts[other, one] = 10
    cells = tuple((int(i), int(j), int(counts[i, j])) for i, j in np.argwhere(counts))
    order = Counts(tuple("abcdef"), cells).by_confusion()
    assert sorted(order) == list(range(6))
    assert all(abs(order.index(one) - order.index(other)) == 1 for one, other in ((0, 3), (1, 4), (2, 5)))


def test_labels_that_stand_for_themselves_are_a_table(tmp_path):
    record = {"class_names": ["sun", "rain"], "counts": [[[50, 3], [7, 40]], [[60, 0], [1, 39]]]}
    runs.write(tmp_path / "posttrain" / "test" / "confusion_matrix.json", record)
    said = text_of(page_of(tmp_path), "what-goes-wrong")
    assert "sun 7 of 47 3 of 53" in said
    assert said.index("sun") < said.index("rain")
