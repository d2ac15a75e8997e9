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
        held: by tag of a picture or table, what writes the last one, where loggers did not get it.
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
        self.held: dict[str, Rest] = {}
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
        """Give the loggers what was held back, then close the stages; for the thread, after all other work."""
        held, self.held = self.held, {}
        closing, self.closing = self.closing, {}
        # what a fit itself left is told with its validation
        chosen = [closing[stage] for stage in ("val", "test") if stage in closing] or [*closing.values()][:1]
        told = () if failed or self.full else (one.tell for one in chosen)
        return [remark for rest in (*held.values(), *(one.write for one in chosen), *told) for remark in rest()]
