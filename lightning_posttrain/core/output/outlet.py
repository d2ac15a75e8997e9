"""Where the reports of a run go: its folder each time, its loggers at some steps and at the last."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.closing import Reported, closed
from lightning_posttrain.core.output.picture_steps import PictureSteps
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.runs import Run

Rest = Callable[[], Iterable[Remark]]
"""Writes to the loggers what was held back."""


class Outlet:
    """What the reports of one Trainer share.

    Attributes:
        files: the folder.
        steps: when loggers get pictures.
        full: the disk was; nothing more is written in this run.
        held: by tag of a picture or table, what writes the last one, where loggers did not get it.
        reported: what is known of the reports, for the end of the run; None before the first.
    """

    def __init__(self) -> None:
        self._name = secrets.token_hex(4)
        self.files = FolderSink("posttrain")
        self.begin("")

    def begin(self, folder: str) -> None:
        """A run begins, whose folder it is."""
        place = f"{folder.rstrip('/')}/posttrain"
        if place != self.files.folder:
            self.files = FolderSink(place)
        self._used = False
        self.steps = PictureSteps()
        self.full = False
        self.held: dict[str, Rest] = {}
        self.reported: Reported | None = None

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

    def note(self, place: str, told: Reported) -> None:
        """Know of a report: what its tags begin with, and the rest, which replaces what was known before."""
        told.places |= {place} | (self.reported.places if self.reported else set())
        self.reported = told

    def last(self) -> list[Remark]:
        """Give the loggers what was held back, and close the run; for the thread, after all other work."""
        held, self.held = self.held, {}
        remarks = [remark for rest in held.values() for remark in rest()]
        told, self.reported = self.reported, None
        run = None if told is None or self.full else told.finished(self.files)
        return remarks if run is None or told is None else [*remarks, *closed(run, told)]

    def broken(self) -> list[Remark]:
        """Give the loggers what was held back of a run that failed."""
        self.reported = None
        return self.last()
