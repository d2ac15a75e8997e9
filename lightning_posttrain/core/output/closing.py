"""What is made of a run's files when all of them are written, by wings that are named here and not known."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.folder import FolderSink


@dataclass(frozen=True, eq=False)
class Finished:
    """A fit or a test whose files are written, but for what is made of them.

    Args:
        files: the run's ``posttrain``.
        stage: where its figures are, ``"val"`` of a fit and ``"test"`` of a test.
        step: of the trainer.
        loggers: sinks beside the folder.
    """

    files: FolderSink
    stage: str
    step: int
    loggers: Sequence[Sink]


Closer = Callable[[Finished], Iterable["Tagged | str"]]
"""Gives what is to be written, under whole tags, and lines for the terminal, in the order of their coming."""
CLOSERS = tuple(f"lightning_posttrain.report:{name}" for name in ("at_a_glance", "in_short", "told"))
"""Module and function of each; imported when it is needed, and not before."""


@dataclass(eq=False)
class Reported:
    """What is known of the reports of a run, for its end.

    Attributes:
        places: what their tags begin with.
        fn: the trainer's own word for what it does, as ``"fit"``.
        step: of the last one.
        loggers: sinks of that.
        inform: says a line, in the main thread.
        warn: warns once.
    """

    inform: Callable[[str], None]
    warn: Callable[[str], None]
    fn: str
    step: int
    loggers: Sequence[Sink]
    places: set[str] = field(default_factory=set)

    def finished(self, files: FolderSink) -> Finished | None:
        """The run as it is closed; None where it has no figures of its own, as a validation by itself."""
        stage = stage_of_page(self.fn, self.places)
        return None if stage is None else Finished(files, stage, self.step, self.loggers)


def stage_of_page(fn: str, places: Collection[str]) -> str | None:
    """The stage that a fit or a test is told by.

    Example:
        >>> stage_of_page("fit", {"val", "gap"}), stage_of_page("test", {"test"}), stage_of_page("validate", {"val"})
        ('val', 'test', None)
    """
    wanted = {"fit": ("val", "train"), "test": ("test",)}.get(fn, ())
    return next((stage for stage in wanted if stage in places), None)


def closed(run: Finished, told: Reported) -> Iterator[Remark]:
    """Close a run; gives what is to be said. A closer that fails is told, and costs nothing else."""
    for name in CLOSERS:
        module, _, function = name.partition(":")
        try:
            for made in getattr(importlib.import_module(module), function)(run):
                if isinstance(made, str):
                    yield partial(told.inform, made)
                else:
                    _write(run, made)
        except Exception as error:
            text = f"{name} could not be done: {type(error).__name__}: {first_line(error)}. The run's files are whole."
            yield partial(told.warn, text)


def _write(run: Finished, made: Tagged) -> None:
    for sink in (run.files, *run.loggers):
        sink.write(made.tag, made.artifact, run.step)
