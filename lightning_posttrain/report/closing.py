"""What is made of a run's files when all are written: the curves at a glance, what is to be known, and a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lightning_posttrain.core.output.artifacts import Table, Tagged
from lightning_posttrain.core.output.closing import Finished
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.curves import curves_of
from lightning_posttrain.report.findings import SHOWN, findings, headline

BOARD = "0_summary"
"""What the tags of what one looks at first begin with, where a logger shows them in the order of the alphabet."""
PAGE = "report.html"


def at_a_glance(run: Finished) -> Iterator[Tagged]:
    """The curves of a training, as ``results.png`` on disk."""
    from lightning_posttrain.report.render.glance import glance_image

    folder = _folder(run)
    curves = () if folder is None else curves_of(folder.history())
    if curves:
        image = glance_image(curves)
        yield Tagged("results", replace(image, files_only=True))
        yield Tagged(f"{BOARD}/training_at_a_glance", replace(image, loggers_only=True))


def in_short(run: Finished) -> Iterator[Tagged]:
    """What is to be known, in sentences, and where all stands."""
    folder = _folder(run)
    said = () if folder is None else findings(folder, run.stage)[:SHOWN]
    if said:
        rows = tuple((one.text,) for one in said)
        yield Tagged(f"{BOARD}/{run.stage}", Table((run.stage,), rows, note=_place(run), loggers_only=True))


def told(run: Finished) -> Iterator[str]:
    """One line: how good it is, and where all stands."""
    folder = _folder(run)
    words = f"{run.stage}: done." if folder is None else headline(folder, run.stage)
    yield f"{words} → {_place(run)}"


def _folder(run: Finished) -> RunFolder | None:
    """None where the files are not on a disk."""
    return None if run.files.disk is None else RunFolder(run.files.disk)


def _place(run: Finished) -> str:
    """Path of the page, or of the folder where there is none."""
    folder = _folder(run)
    if folder is None:
        return f"{run.files}/{run.stage}"
    page = (folder.home / run.stage / PAGE).resolve()
    return str(page if page.is_file() else page.parent)
