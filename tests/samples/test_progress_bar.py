"""Bars of long work: with a total, in the style of the trainer's own, and none where that shows none."""

import io
import time

import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from tqdm import tqdm

from lightning_posttrain import SaliencyMaps
from lightning_posttrain.samples import progress_bar
from lightning_posttrain.samples.progress_bar import Progress, RichTask, progress
from tests import toys


class Live:
    """What of a ``rich.progress.Progress`` is asked for."""

    def __init__(self):
        self.lines = []

    def add_task(self, description, total):
        self.lines.append([description, 0, total])
        return len(self.lines) - 1

    def update(self, task, completed, total):
        self.lines[task][1:] = completed, total

    def remove_task(self, task):
        self.lines[task].append("gone")

    def refresh(self): ...


def test_a_line_of_rich_shows_up_late_with_its_total_and_goes(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    live = Live()
    task = RichTask(live, "SaliencyMaps")
    bar = Progress(task)
    bar.expect(100)
    bar(10)
    assert live.lines == []
    now[0] += progress_bar.DELAY + 0.01
    bar(10)
    assert live.lines == [["SaliencyMaps", 20, 100]]
    bar(10)  # drawn too short a time ago
    assert live.lines == [["SaliencyMaps", 20, 100]]
    task.close()
    assert live.lines == [["SaliencyMaps", 20, 100, "gone"]]


def test_work_that_is_short_draws_no_line():
    live = Live()
    task = RichTask(live, "SaliencyMaps")
    Progress(task)(1000)
    task.close()
    assert live.lines == []


@pytest.mark.parametrize("kind", [TQDMProgressBar, RichProgressBar])
def test_maps_have_a_bar_with_a_total_in_the_style_of_the_trainers(kind, monkeypatch):
    monkeypatch.setattr(progress_bar, "DELAY", 0.0)
    monkeypatch.setattr(progress_bar, "REFRESH", 0.0)
    shown = []

    class Line(RichTask):
        def close(self):
            shown.append(("rich", self.n, self.total))
            super().close()

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options, file=io.StringIO())

        def close(self):
            if self.desc and "SaliencyMaps" in self.desc:
                shown.append(("tqdm", self.n, self.total))
            super().close()

    monkeypatch.setattr(progress_bar, "RichTask", Line)
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    trainer = toys.quiet([SaliencyMaps(on_error="raise"), kind()], enable_progress_bar=True)
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    done = [line for line in shown if line[1]]
    assert {style for style, _, _ in done} == {"rich" if kind is RichProgressBar else "tqdm"}
    assert all(total is not None and n <= total for _, n, total in done)


def test_a_trainer_without_a_bar_gets_none():
    trainer = toys.quiet([], enable_progress_bar=False)
    with progress(trainer, "SaliencyMaps") as bar:
        bar.expect(10)
        bar(10)
    assert bar._bar is None
