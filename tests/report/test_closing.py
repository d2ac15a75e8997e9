"""The page is the last thing that a run writes."""

import pytest

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from tests import toys


def page(folder, stage):
    place = folder / "posttrain" / stage / "report.html"
    return place.read_text() if place.is_file() else None


def test_a_fit_leaves_a_page_of_its_validation_and_a_test_one_of_its_own(tmp_path):
    trainer = toys.quiet([ClassificationMetrics(on_error="raise"), ConfusionMatrix(on_error="raise")], max_epochs=2)
    module = toys.Net()
    trainer.fit(module, toys.loader(), toys.loader())
    assert 'id="what-goes-wrong"' in page(tmp_path, "val")
    assert page(tmp_path, "test") is None
    trainer.test(module, toys.loader(), verbose=False)
    assert "epoch 2" in page(tmp_path, "test") or "epoch 1" in page(tmp_path, "test")
    assert (tmp_path / "posttrain" / "test" / "report.md").is_file()


def test_a_fast_dev_run_leaves_none(tmp_path):
    toys.quiet(ConfusionMatrix(), fast_dev_run=True).fit(toys.Net(), toys.loader(), toys.loader())
    assert page(tmp_path, "val") is None


def test_a_page_that_cannot_be_made_costs_a_warning_not_the_run(tmp_path, monkeypatch):
    def stumble(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("lightning_posttrain.report.closing.artifacts", stumble)
    with pytest.warns(UserWarning, match="The report could not draw: MemoryError: no room"):
        toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    assert (tmp_path / "posttrain" / "val" / "confusion_matrix.json").is_file()


def test_a_page_of_an_earlier_run_is_replaced_and_one_of_somebody_else_stays(tmp_path):
    trainer = toys.quiet(ConfusionMatrix())
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    (tmp_path / "posttrain" / "val" / "report.html").write_text("mine")
    with pytest.warns(UserWarning, match=r"report.html: not written by lightning_posttrain"):
        trainer.validate(toys.Net(), toys.loader(), verbose=False)
    assert page(tmp_path, "val") == "mine"
