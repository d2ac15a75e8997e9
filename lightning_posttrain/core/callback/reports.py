"""How a callback reports an epoch: what there is, worked out, kept, logged, said and handed to the writer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.callback.charts import uncharted
from lightning_posttrain.core.callback.harmless import Harmless
from lightning_posttrain.core.callback.overhead import affords, decide
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import any_rank
from lightning_posttrain.core.stream.stream import EvaluationStream


class Reports(Harmless):
    """For a callback that says what an evaluation amounts to, and what of it is logged and shown."""

    tag: ClassVar[str]
    charted: ClassVar[tuple[str, ...]] = ("*",)
    """Which scalars loggers and the table of a test get where nothing is chosen; with ``*`` for any letters."""
    chosen: tuple[str, ...] | None
    stages: tuple[str, ...]
    max_overhead: float | None
    results: dict[str, Any]

    @abstractmethod
    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """What there is to report at the end of an epoch; all ranks together."""

    @abstractmethod
    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Result | None:
        """The result of a finished epoch."""

    def scalars(self, result: Any) -> dict[str, float]:
        """What of the result is logged for curves and monitors."""
        figures: dict[str, float] = result.scalars()
        return figures

    def charts(self) -> tuple[str, ...]:
        """Which of the scalars loggers and the table of a test get; the others are for monitors alone."""
        return self.charted if self.chosen is None else self.chosen

    def shown_by_others(self, trainer: Trainer) -> Collection[str]:
        """Which of these another callback of the run logs of the same rows; they are for monitors alone."""
        return ()

    @abstractmethod
    def show(self, result: Any, title: str) -> Iterable[Tagged]:
        """The artifacts of a result; asked for in a thread of its own, while the run goes on."""

    def names(self, found: tuple[str, ...]) -> tuple[str, ...]:
        """Of what figures tell apart, as classes; ``found`` are the dataset's own, or numbers."""
        return found

    def place(self, evaluation: Evaluation) -> str:
        """What its tags begin with."""
        return evaluation.stage

    def guarded(self, trainer: Trainer, what: str, cure: str) -> AbstractContextManager[None]:
        """A diagnostic never costs a run: an error inside is said once as a warning."""
        return self._reporter.guarded(trainer, what, cure)

    def write_last(
        self, trainer: Trainer, evaluation: Evaluation, result: Result, shown: Iterable[Tagged] | None = None
    ) -> None:
        """Say and write a result that was made at the end of a fit, as that of its last epoch.

        Args:
            trainer: of the fit.
            evaluation: its last.
            result: of that.
            shown: artifacts. Default: what ``show`` gives.
        """
        self.results[evaluation.label] = result
        self.attempt(trainer, "say what is alarming", self._reporter.say, trainer, evaluation.label, result)
        shown = self._drawn(result, evaluation.label) if shown is None else shown
        place, epoch = self.place(evaluation), max(trainer.current_epoch - 1, 0)
        self._reporter.write(trainer, place, evaluation.suffix, tag=self.tag, result=result, shown=shown, epoch=epoch)

    def _report_all(self, trainer: Trainer, module: LightningModule, *, also_out: set[str]) -> None:
        found = self.attempt(trainer, "end an epoch", self.evaluations, trainer, module, configures=True)
        decide(trainer)
        told = EvaluationStream.of(trainer).out_on_any(trainer, self) if self._of_stream() else None  # type: ignore[arg-type]
        (out,) = any_rank(trainer, [stage_of(trainer) in self.out | also_out]) if told is None else (told,)
        for evaluation in () if out else found or ():
            self.report_one(trainer, module, evaluation)

    def _of_stream(self) -> bool:
        """Whether what there is to report is of the stream alone; what finds more may fail once ranks have told."""
        return type(self).evaluations.__module__.startswith(f"{__package__}.")

    def report_one(self, trainer: Trainer, module: LightningModule, evaluation: Evaluation) -> None:
        """Keep, log and write what one evaluation amounts to; all ranks together."""
        worked_out = self.attempt(trainer, "work out its figures", self._result, module, evaluation)
        if worked_out is None:
            return
        result, place = worked_out
        key = evaluation.label
        self.results[key] = result
        scalars = self.attempt(trainer, "name the figures to log", self.scalars, result) or {}
        others = self.attempt(trainer, "see what others log", self.shown_by_others, trainer) or ()
        unshown = self.uncharted(trainer, scalars).union(others)
        self._reporter.log(trainer, module, place, evaluation.suffix, scalars, unshown)
        self.attempt(trainer, "say what is alarming", self._reporter.say, trainer, key, result)
        shown = self._drawn(result, key)
        at_once = affords(trainer, self.max_overhead)
        self._reporter.write(
            trainer, place, evaluation.suffix, tag=self.tag, result=result, shown=shown, at_once=at_once
        )

    def uncharted(self, trainer: Trainer, scalars: Mapping[str, float]) -> set[str]:
        """Scalars that are for monitors alone; all, where which ones are charted cannot be told."""
        return uncharted(scalars, self.attempt(trainer, "name the figures to chart", self.charts) or ())

    def _result(self, module: LightningModule, evaluation: Evaluation) -> tuple[Result, str] | None:
        names = self.names(evaluation.names)
        EvaluationStream.of(module.trainer).log.named(names)
        result = self.summarize(module, evaluation, names)
        return None if result is None else (result, self.place(evaluation))

    def _drawn(self, result: Result, title: str) -> Iterator[Tagged]:
        """What ``show`` gives, asked for only where its errors are caught."""
        yield from self.show(result, title)
