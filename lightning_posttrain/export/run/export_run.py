"""What an export goes through in a run: rows kept in a fit, exported at its end, compared on test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.capture.loaders import dataset_classes, named_loaders
from lightning_posttrain.core.capture.module_state.random_numbers import kept_random_numbers
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import any_rank, worked_out_first
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.core.stream.run import run_folder
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.export.result import ExportReport
from lightning_posttrain.export.run.asked_call import AskedCall, asked_call
from lightning_posttrain.export.run.at_fit_end import exported_at_fit_end
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.kept_rows import KeptRows
from lightning_posttrain.export.run.on_test import OnTest
from lightning_posttrain.export.run.place import place_of
from lightning_posttrain.export.run.settings import Settings

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Names = Callable[[tuple[str, ...]], tuple[str, ...]]
NO_ROWS = (
    "ModelExport exports nothing at the end of this fit: it kept no row of validation to compare on. Pass a validation "
    "loader to fit, or run trainer.test, which exports the weights that it tests."
)


class ExportRun:
    """The state of one ``ModelExport``.

    Args:
        settings: what the user said.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._test: OnTest | None = None
        self.end()

    def end(self) -> None:
        """A run is over, or begins."""
        if self._test is not None:
            self._test.end()
        self._kept: KeptRows | None = None
        self._asked: AskedCall | None = None
        self._last: Evaluation | None = None
        self._test = None
        self._place = ""
        self._names: tuple[str, ...] = ()
        self._failed = False
        """Whether something went wrong before, which was said then."""

    def open(self, trainer: Trainer) -> bool:
        """Begin an epoch; whether batches are wanted in it. All ranks together."""
        if trainer.fast_dev_run or not (trainer.validating or trainer.testing):  # type: ignore[attr-defined]
            return False
        before, self._failed = self._failed, True  # unless it ends
        self._place = str(Path(self.settings.folder or place_of(run_folder(trainer))).absolute())
        self._failed = before
        if trainer.state.fn == "test":
            self._test = OnTest(self.settings, self._place)
            return True
        if trainer.state.fn == "fit" and self._kept is None:
            wanted = self.settings.rows * (2 if self.settings.calibrates else 1)
            self._kept = KeptRows(wanted, float(trainer.num_val_batches[0]))
            return True
        return False

    def replay(self, key: str, batch: EvalBatch, again: Replay, reading: ClassReading, names: Names) -> bool:
        """Keep rows of a batch, or compare on it, of the first loader; whether more are wanted."""
        self._failed = True  # unless it ends
        wanted = self._replay(key, batch, again, reading, names)
        self._failed = False
        return wanted

    def _replay(self, key: str, batch: EvalBatch, again: Replay, reading: ClassReading, names: Names) -> bool:
        if key == "test" and self._test is not None:
            return self._test.add(batch, again, reading, names(_names(again, batch)))
        if key != "val" or self._kept is None or not again.module.trainer.is_global_zero:
            return False
        if batch.size:
            if self._asked is None:
                self._asked = asked_call(again, batch, forward_fn=self.settings.forward_fn).kept()
                self._names = names(_names(again, batch))
            self._kept.add(self._asked.parts_of(again, batch), batch)
        return not self._kept.full

    def summarize(self, module: LightningModule, evaluation: Evaluation) -> ExportReport | None:
        """Of a test, what was compared; of the validations of a fit nothing, before it ends."""
        if evaluation.key == "val" and module.trainer.state.fn == "fit":
            self._last = evaluation
        if evaluation.key != "test" or self._test is None:
            return None
        test, self._test = self._test, None
        try:
            with kept_random_numbers(module):  # a network may draw some where it is run
                return test.report(module, evaluation)
        finally:
            test.end()

    def finish(
        self, trainer: Trainer, module: LightningModule, reading: ClassReading
    ) -> tuple[Evaluation, ExportReport] | None:
        """Export at the end of a fit; all ranks together."""
        last, kept, asked = self._last, self._kept, self._asked
        empty = trainer.is_global_zero and (asked is None or kept is None or not kept.rows)
        (nothing,) = any_rank(trainer, [last is None or kept is None or empty])
        if nothing or last is None or kept is None:
            if not self._failed:
                EvaluationStream.of(trainer).say_once(NO_ROWS)
            return None
        rank_zero_info(f"ModelExport writes {', '.join(self.settings.formats)} to {self._place}")
        run = Context(trainer, module, reading, self.settings, self._names, self._place)
        with kept_random_numbers(module):
            report = worked_out_first(trainer, lambda: exported_at_fit_end(run, last, kept=kept, asked=asked))
        self.end()
        return last, report


def _names(again: Replay, batch: EvalBatch) -> tuple[str, ...]:
    """Of the classes, as the dataset of the first loader has them, else their numbers."""
    loaders = named_loaders(again.module.trainer)
    found = dataset_classes(loaders[0][1], batch.num_classes) if loaders else None
    return found or tuple(map(str, range(batch.num_classes)))
