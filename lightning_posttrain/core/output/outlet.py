"""Where the reports of a run go: its folder each time, its loggers at some steps and at the last."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from lightning_posttrain.core.output.background import Remark
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
        held: by tag, the last report where loggers did not get it.
    """

    def __init__(self) -> None:
        self._name = secrets.token_hex(4)
        self.files = FolderSink("posttrain")
        self._start()

    def _start(self) -> None:
        self.steps = PictureSteps()
        self.full = False
        self.held: dict[str, Rest] = {}

    def begin(self, folder: str, *, anew: bool) -> None:
        """A run begins.

        Args:
            folder: the run's.
            anew: it is a fit that starts from nothing.
        """
        place, run = f"{folder.rstrip('/')}/posttrain", Run(self._name, anew)
        if place == self.files.folder:
            self.files.again(run)
        else:
            self.files = FolderSink(place, run)
        self._start()

    def end(self) -> None:
        """The run is over."""
        self.files.end()

    def last(self) -> list[Remark]:
        """Give the loggers what was held back; for the thread, after all other work."""
        held, self.held = self.held, {}
        return [remark for rest in held.values() for remark in rest()]
