"""Where the reports of a run go: its folder each time, its loggers at some steps and at the last."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.picture_steps import PictureSteps
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.runs import Run

Rest = Callable[[], Iterable[Remark]]
"""Writes to the loggers what was held back, or to the folder what stands at the end."""


class Closing(NamedTuple):
    """What stands at the end of a run: what is written then, and, where the run did not fail, what is said."""

    write: Rest
    tell: Rest


class Outlet:
    """What the reports of one Trainer share.

    Attributes:
        folder: the run's own, in which that of the reports is.
        files: the folder.
        steps: when loggers get pictures.
        full: the disk was; nothing more is written in this run.
        postponed: by tag of a report, what draws and writes the last one, where there was no room in the run for it.
        held: by tag of a picture or table, what writes the last one, where loggers did not get it.
        ending: by place, what is written of the run as a whole, before the closing.
        closing: by stage, what is done when all else is.
        laid_out: loggers know which scalars share a chart.
    """

    def __init__(self) -> None:
        self._name = secrets.token_hex(4)
        self.files = FolderSink("posttrain")
        self.begin("")

    def begin(self, folder: str) -> None:
        """A run begins, whose folder it is."""
        self.folder = folder
        place = f"{folder.rstrip('/')}/posttrain"
        if place != self.files.folder:
            self.files = FolderSink(place)
        self._used = False
        self.steps = PictureSteps()
        self.full = False
        self.postponed: dict[str, Rest] = {}
        self.held: dict[str, Rest] = {}
        self.ending: dict[str, Rest] = {}
        self.closing: dict[str, Closing] = {}
        self.laid_out = False

    def use(self, *, anew: bool) -> None:
        """The first report is to be written, or another one.

        Args:
            anew: of a fit that starts from nothing.
        """
        if not self._used:
            self._used = True
            self.files.of_run(Run(self._name, anew))

    def end(self) -> None:
        """The run is over."""
        self.files.end()

    def last(self, *, failed: bool = False) -> list[Remark]:
        """Do what was postponed, give the loggers what was held back, close the stages; after all other work."""
        postponed, self.postponed = self.postponed, {}
        remarks = [remark for report in postponed.values() for remark in report()]
        held, self.held = self.held, {}
        ending, self.ending = self.ending, {}
        closing, self.closing = self.closing, {}
        # what a fit itself left is told with its validation
        chosen = [closing[stage] for stage in ("val", "test") if stage in closing] or [*closing.values()][:1]
        told = () if failed or self.full else (one.tell for one in chosen)
        rests = (*held.values(), *ending.values(), *(one.write for one in chosen), *told)
        return [*remarks, *(remark for rest in rests for remark in rest())]
