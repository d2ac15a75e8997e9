"""What a run writes last: the page, the curves at a glance, a summary for loggers; and the line that says where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from lightning_posttrain.core.output.artifacts import Table, Tagged
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.curves import curves_of
from lightning_posttrain.report.findings import SHOWN, Finding, findings, headline
from lightning_posttrain.report.page.sources import PAGE
from lightning_posttrain.report.page.writing import artifacts

BOARD = "0_summary"
"""What the tags of what one looks at first begin with, where a logger shows them in the order of the alphabet."""


def close(home: str, stage: str) -> Iterator[Tagged]:
    """What is made of the files of a run, as they are when it is asked for, under whole tags; nothing without any.

    Args:
        home: the ``posttrain`` folder of the run.
        stage: as ``"test"``.
    """
    if not Path(home).is_dir():
        return
    folder = RunFolder(home)
    told = cache(lambda: findings(folder, stage))  # for the page and for loggers
    for page in artifacts(folder, stage, lambda *_: told()):
        yield Tagged(f"{stage}/{page.tag}", page.artifact)
    yield from _in_short(folder, stage, told())
    if stage != "test":  # a test adds no epoch
        yield from at_a_glance(home)


def _in_short(folder: RunFolder, stage: str, found: Sequence[Finding]) -> Iterator[Tagged]:
    """What is to be known, in sentences, and where all stands."""
    said = tuple((one.text,) for one in found[:SHOWN])
    if said:
        note = f"More is in {folder.home.resolve() / stage / PAGE}."
        yield Tagged(f"{BOARD}/{stage}", Table((stage,), said, note=note, loggers_only=True))


def at_a_glance(home: str) -> Iterator[Tagged]:
    """The curves of a training, as ``results.png`` on disk; nothing before its second epoch.

    Args:
        home: the ``posttrain`` folder of the run.
    """
    folder = RunFolder(home) if Path(home).is_dir() else None
    curves = () if folder is None else curves_of(folder.history(), folder.record("gap", "history"))
    if curves:
        from lightning_posttrain.report.render.glance import glance_image

        image = glance_image(curves)
        yield Tagged("results", replace(image, files_only=True))
        yield Tagged(f"{BOARD}/training_at_a_glance", replace(image, loggers_only=True))


def line(home: str, stage: str) -> str:
    """How good a stage is, and the path of its page, of its folder where there is none.

    Args:
        home: the ``posttrain`` folder of the run.
        stage: as ``"test"``.
    """
    folder = RunFolder(home)
    page = folder.home.resolve() / stage / PAGE
    return f"{headline(folder, stage)} → {page if page.is_file() else page.parent}"
