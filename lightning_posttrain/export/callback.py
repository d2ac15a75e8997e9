"""The model as it is shipped: exported at the end of a fit or on test, and kept only if it answers as tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import Unpack

from lightning_posttrain.classification import EvalBatch, EvaluationOptions, StreamCallback
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.replay import ForwardFn, Replay
from lightning_posttrain.export.result import ExportReport
from lightning_posttrain.export.run.export_run import ExportRun
from lightning_posttrain.export.run.settings import USUAL, Settings, listed, numbers


@final
class ModelExport(StreamCallback):
    """Exports the model, and keeps only files that give the answers that were tested.

    At the end of a fit the best checkpoint goes, in a copy, into one folder: ``model.onnx``, ``model.pt2``,
    ``weights.safetensors``, a manifest, a model card and an ``MLmodel``. Normalisation, softmax, the temperature of
    ``Calibration`` and the thresholds and least confidence of ``DecisionThresholds`` are inside of the graph, so that
    what is served decides as what was tested; what was fitted for other weights is left out, and said.

    Each file is run beside the module, on rows of validation, and by ``test`` on the whole test loader: one with
    flipped decisions, with probabilities apart by more than its precision allows, or that fails at some batch size, is
    not kept, and the report names the first layer that differs and what to change. Where ``test`` runs with other
    weights than those in the folder, these are exported instead.

    ``lightning_posttrain.export.load(folder)`` answers with NumPy and onnxruntime alone, ``lightning-posttrain serve
    FOLDER`` over HTTP. ``pip install 'lightning-posttrain[export]'`` brings what it needs.

    Args:
        formats: ``"onnx"``, ``"pt2"`` (torch.export), ``"safetensors"`` (weights alone), ``"int8"`` (a quantised ONNX,
            kept if it is worth it), ``"aoti"`` (compiled for this kind of machine).
        weights: ``"best"``: of ``ModelCheckpoint``, else the last; ``"last"``; ``"average"``: of a weight averaging;
            ``"ensemble"``: what ``CheckpointEnsemble``, before this in the list, has chosen; or a checkpoint's path. A
            test exports the weights that it runs with, or the ensemble.
        mean, std: of each channel: the graph normalises with them, so that it takes inputs as they were before your
            ``Normalize``.
        uint8: the graph takes bytes, and divides them by 255 before it normalises.
        forward_fn: from the module and inputs to scores, where the step does more than call the network.
        rows: of validation that are kept to compare on, from all over its first epoch.
        test_rows: that a test compares on, at most. Default: all.
        folder: where to. Default: ``posttrain/export`` in the run's folder.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[ModelExport(formats=["onnx"])], logger=False)
    """

    tag = "export"
    charted = ("export/*/kept",)
    several_targets = False
    stays = ("_run",)

    def __init__(
        self,
        *,
        formats: Sequence[str] = USUAL,
        weights: str = "best",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        uint8: bool = False,
        forward_fn: ForwardFn | None = None,
        rows: int = 512,
        test_rows: int | None = None,
        folder: str | None = None,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        settings = Settings(
            listed(formats), weights, numbers(mean), numbers(std), uint8=uint8, forward_fn=forward_fn, rows=rows,
            test_rows=test_rows, folder=folder,
        )  # fmt: skip
        self._run = ExportRun(settings)

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run."""
        self._run.end()

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch: rows are kept in the first validation of a fit, and compared in a test."""
        self.asks_again = self._run.open(trainer) and self.takes(trainer)

    def replay(self, key: str, batch: EvalBatch, again: Replay) -> None:
        """Keep rows of a batch, or compare on it."""
        self.asks_again = False  # not again after an error
        self.asks_again = self._run.replay(key, batch, again, self.reading, self.names)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> ExportReport | None:
        """Of a test, what was compared; of the validations of a fit nothing, before it ends."""
        return self._run.summarize(module, evaluation)

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Export at the end of a fit; all ranks together."""
        if "val" in self.stages and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            with self.guarded(trainer, "export the model", "The folder is as it was."):
                found = self._run.finish(trainer, module, self.reading)
                if found is not None:
                    self.write_last(trainer, *found)

    def show(self, result: ExportReport, title: str) -> Iterator[Tagged]:
        """The formats, their differences, and their figures."""
        from lightning_posttrain.export.render.parity import export_artifacts

        yield from export_artifacts(result, tag=self.tag, title=title)

    def release(self, trainer: Trainer) -> None:
        """Let go of what was held."""
        self._run.end()
