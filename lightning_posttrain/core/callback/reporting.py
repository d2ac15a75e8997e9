"""How a result is kept, logged, drawn and written, and how an error in that costs no run."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lightning_posttrain.core.callback.logger_names import log_apart
from lightning_posttrain.core.callback.scalars import epoch_of, log_scalars, step_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.imports import import_all
from lightning_posttrain.core.output.outlet import Closing
from lightning_posttrain.core.output.recorded import with_record
from lightning_posttrain.core.output.report import Report, Voice
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.find import sinks_of
from lightning_posttrain.core.stream.faults import WHERE, could_not
from lightning_posttrain.core.stream.run import is_anew, progress
from lightning_posttrain.core.stream.stream import EvaluationStream

PACKAGE = "lightning_posttrain."
PAGES = ("val", "test", "train", "fit")
"""Stages that have a page; what belongs to none, as the gap of two, is told on the first."""


class Reporter:
    """Reports the results of one callback.

    Args:
        callback: whose class's name stands in warnings, and whose wing has the renderers.

    Attributes:
        logged: names of scalars that others may monitor.
    """

    def __init__(self, callback: Any) -> None:
        kind: type = type(callback)
        self.owner = kind.__name__
        self.wings = [part.__module__.split(".")[1] for part in kind.__mro__ if part.__module__.startswith(PACKAGE)]
        self.name: str | None = callback.name
        self.on_error: Literal["warn", "raise"] = callback.on_error
        self.pictures_every: int | None = callback.pictures_every
        self.action: str = callback.action
        self.max_overhead: float | None = callback.max_overhead
        self.logged: set[str] = set()

    def log(
        self,
        trainer: Trainer,
        module: LightningModule,
        stage: str,
        suffix: str,
        scalars: Mapping[str, float],
        unshown: Collection[str] = (),
    ) -> None:
        """Log scalars as the module's own, some for monitors alone; all ranks together."""
        if scalars and not trainer.barebones:
            tags = {key: self.tag(stage, key, suffix) for key in scalars}
            named = {tags[key]: value for key, value in scalars.items()}
            self.logged.update(named)
            if apart := log_scalars(trainer, module, named, {tags[key] for key in unshown}):
                with self.guarded(trainer, "log to a logger", "Check the loggers."):
                    log_apart(trainer, apart, step_of(trainer))

    def say(self, trainer: Trainer, key: str, result: Result) -> None:
        """Warn of what a result is alarmed at, each once a run, on the first rank."""
        if trainer.is_global_zero:
            for alert in result.alerts:
                EvaluationStream.of(trainer).say_once(f"{key}: {alert}.", re.sub(r"\d+", "", alert))

    def write(
        self,
        trainer: Trainer,
        stage: str,
        suffix: str,
        *,
        tag: str,
        result: Result,
        shown: Iterable[Tagged],
        epoch: int | None = None,
        at_once: bool = True,
    ) -> None:
        """Submit to the background, on the first rank, what is to be drawn and written; what cannot be is said once.

        What is not to be done ``at_once`` is done at the end of the run, if it is the last of its tag.
        """
        if not writes(trainer):
            return
        stream = EvaluationStream.of(trainer)
        at = stream.log.loaded or (epoch_of(trainer, stage), step_of(trainer))
        moment = {"epoch": at[0] if epoch is None else epoch, "step": at[1]}
        own, loggers = self.tag(stage, tag, suffix), self.sinks(trainer)
        for wing in self.wings:
            import_all(f"{PACKAGE}{wing}.render")
        in_fit = trainer.state.fn == "fit"
        steps, how_far = stream.outlet.steps, progress(trainer)
        report = self._report(
            trainer,
            own,
            with_record(tag, result, moment, shown),
            tag_of=lambda quantity: self.tag(stage, quantity, suffix),
            loggers=loggers,
            shown=not in_fit or (at_once and steps.chosen(own, self.pictures_every, how_far)),
        )
        job = stream.costs.beside(report.do, self.action, self.max_overhead, own)
        stream.outlet.postponed.pop(own, None)
        if at_once:
            with stream.costs.waiting(self.max_overhead, own):
                stream.writer.submit(own, job)
        else:
            stream.outlet.postponed[own] = job
        self._close(trainer, stage.split("/", maxsplit=1)[0], loggers)

    def write_files(
        self,
        trainer: Trainer,
        own: str,
        artifacts: Iterable[Tagged],
        *,
        loggers: Sequence[Sink] = (),
        optional: bool = False,
    ) -> None:
        """Submit files of the run as a whole, whose tags are their names, on the first rank.

        Those that are optional count for what the callback may take of a run.
        """
        job: Callable[[], list[Remark]] = self.report(trainer, own, artifacts, loggers=loggers).do
        stream = EvaluationStream.of(trainer)
        job = stream.costs.beside(job, self.action, self.max_overhead, own) if optional else job
        stream.writer.submit(own, job)

    def report(
        self, trainer: Trainer, own: str, artifacts: Iterable[Tagged], *, loggers: Sequence[Sink] | None = None
    ) -> Report:
        """Artifacts whose tags are their names, for the trainer's loggers where none are said."""
        loggers = self.sinks(trainer) if loggers is None else loggers
        return self._report(trainer, own, artifacts, tag_of=str, loggers=loggers, shown=True)

    def _report(
        self,
        trainer: Trainer,
        own: str,
        artifacts: Iterable[Tagged],
        *,
        tag_of: Callable[[str], str],
        loggers: Sequence[Sink],
        shown: bool,
    ) -> Report:
        stream = EvaluationStream.of(trainer)
        stream.outlet.use(anew=is_anew(trainer))
        return Report(
            tag=own,
            artifacts=artifacts,
            tag_of=tag_of,
            step=step_of(trainer),
            outlet=stream.outlet,
            loggers=loggers,
            shown=shown,
            voice=Voice(partial(self.tell, stream), stream.say_once, rank_zero_info),
            given_up=stream.writer.given_up,
        )

    def _close(self, trainer: Trainer, stage: str, loggers: Sequence[Sink]) -> None:
        """Have the page of a stage made when all else is written; a folder that is no local one cannot be read back."""
        stream = EvaluationStream.of(trainer)
        stage, home = stage if stage in PAGES else PAGES[0], stream.outlet.files.disk
        if home is None:
            return
        for room in ("report", "report.render"):
            import_all(f"{PACKAGE}{room}")
        wing = importlib.import_module(f"{PACKAGE}report.closing")
        own = f"{stage}/report"
        report = self.report(trainer, own, wing.close(home, stage), loggers=loggers)
        report = replace(report, voice=replace(report.voice, failed=partial(self.tell, stream, owner="The report")))
        # a validation by itself may be one of many
        told = trainer.state.fn != "validate"
        stream.outlet.closing[stage] = Closing(report.do, lambda: _said(wing.line, home, stage) if told else ())

    def sinks(self, trainer: Trainer) -> list[Sink]:
        """Those of the trainer's loggers, on the first rank."""
        found: list[Sink] = []
        for logger in trainer.loggers:
            with self.guarded(trainer, "reach a logger", "Check the loggers."):
                found.extend(sinks_of(logger))
        return found

    def tag(self, stage: str, quantity: str, suffix: str) -> str:
        """``<stage>/<quantity>``, with the callback's name between and the loader's behind, where there are such."""
        name = f"{self.name}/" if self.name else ""
        return f"{stage}/{name}{quantity}{suffix}"

    @contextlib.contextmanager
    def guarded(self, trainer: Trainer, what: str, cure: str) -> Iterator[None]:
        """A diagnostic never costs a run: an error inside is said once as a warning."""
        try:
            yield
        except Exception as error:
            self.tell(EvaluationStream.of(trainer), what, cure, error)

    def tell(self, stream: EvaluationStream, what: str, cure: str, error: Exception, owner: str = "") -> None:
        """Say once what could not be done, or raise it."""
        if self.on_error == "raise":
            raise error
        owner = owner or self.owner
        text = f"{could_not(owner, what, error)} The run goes on. {cure} {WHERE}"
        stream.say_once(text, f"{owner} {what} {type(error).__name__}")


def writes(trainer: Trainer) -> bool:
    """Whether it is the first rank of a run that is written; in a ``fast_dev_run`` Lightning writes nothing either."""
    return trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False)


def _said(line: Callable[[str, str], str], home: str, stage: str) -> Iterator[Remark]:
    """What the terminal is told at the end of a run."""
    with contextlib.suppress(OSError, ValueError):  # the folder is gone
        yield partial(rank_zero_info, line(home, stage))
