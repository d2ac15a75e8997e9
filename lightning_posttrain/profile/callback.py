"""What a model costs, and where the seconds of its run went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.classification import StreamCallback
from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.profile.result import ProfileReport, scalars_of
from lightning_posttrain.profile.run import ProfileRun
from lightning_posttrain.profile.settings import Settings


@final
class ModelProfile(KeptState, StreamCallback):
    """Tells at the end of a fit, and on ``validate`` and ``test``, what the model costs and where the time went.

    Parameters (each once), layers, FLOPs a row, activation memory and latency are of the networks that a step of
    validation calls, with what it gives to them: several inputs, an encoder and a decoder. FLOPs are two for each
    multiplication and addition of products and convolutions, those of recurrent layers and attention too, and
    operations that have no formula are named. The table of modules adds up to the totals. Latency is of real rows, with
    percentiles from as many calls as these need.

    Time is counted beside the run: training and validation, the way to a target, and the seconds of each callback, of
    waiting for data, and of steps. A profiler that the Trainer has keeps its records. What is counted
    and timed of the model at the end is no part of the run's seconds, and has a row apart.

    ``results["fit"]`` and ``results["test"]`` have ``flops``, ``parameters``, ``layers``, ``latency[1].p95``,
    ``shares["SaliencyMaps"]``, ``seconds_to["val/accuracy"]``; ``lightning_posttrain.profile.pareto`` compares runs.

    Args:
        target: by metric, a value to be reached, as ``{"val/accuracy": 0.95}``; kept through a resume.
        modes: by metric, ``"max"`` or ``"min"``. Default: as a checkpoint or early stopping has it that monitors the
            metric, else ``"min"`` where "loss" or "error" is in its name, else ``"max"``.
        batch_sizes: that latency is measured at; none for no latency.
        seconds: that may be spent on each of them.
        name: goes before the quantity in tags and file names, ``test/<name>/...``; for two of a kind.
        stages: of ``"val"`` and ``"test"``, when to report outside of a fit.
        on_error, log: see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=ModelProfile(target={"val/accuracy": 0.95}), logger=False)
    """

    tag = "profile"
    charted = ("profile/latency_ms", "profile/flops")
    several_targets = False
    stays = ("_run",)
    keeps = "its training time"
    regained = "Time to a target counts from here on."

    def __init__(
        self,
        *,
        target: Mapping[str, float] | None = None,
        modes: Mapping[str, Literal["min", "max"]] | None = None,
        batch_sizes: Sequence[int] = (1, 8, 64),
        seconds: float = 1.0,
        name: str | None = None,
        stages: Sequence[Literal["train", "val", "test"]] = ("val", "test"),
        on_error: Literal["warn", "raise"] = "warn",
        log: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name=name, stages=stages, on_error=on_error, log=log)
        self._run = ProfileRun(Settings(target or {}, modes or {}, batch_sizes, seconds))

    def takes(self, trainer: Trainer) -> bool:
        """No class scores are wanted."""
        return False

    def hears_calls(self, trainer: Trainer) -> bool:
        """Until a step was heard."""
        return self._run.wants_calls(trainer)

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run."""
        self._run.begin(trainer, stage)

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Count the rows of a step, and keep the calls of the first."""
        self._run.see(trainer, batch, loader)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here on."""
        super().on_train_start(trainer, pl_module)
        self._run.train_start(pl_module)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which parameters got a gradient."""
        super().on_after_backward(trainer, pl_module)
        self._run.backward()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate, which is counted apart."""
        self._begin(trainer, pl_module)
        self._run.evaluation_start(trainer)

    on_test_start = on_validation_start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with training; report a validation that stands alone."""
        self._end(trainer, pl_module)
        self._run.validation_end(trainer)
        if trainer.state.fn != "fit" and stage_of(trainer) in self.stages:
            self._conclude(trainer, pl_module, stage_of(trainer))

    on_test_end = on_validation_end

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the seconds of an epoch."""
        super().on_train_epoch_end(trainer, pl_module)
        self._run.epoch_end(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count no further."""
        super().on_train_end(trainer, pl_module)
        self._run.time.train_end(perf_counter())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report a fit, when all callbacks have done what they do at its end."""
        self._conclude(trainer, pl_module, "fit")

    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """Measure the model where figures are logged, at the end of a test; what was found is reported after it."""
        if trainer.state.fn != "fit":
            found = self._run.measure(trainer, module)
            scalars = scalars_of(found)
            self._reporter.log(trainer, module, stage_of(trainer), "", scalars, self.uncharted(trainer, scalars))
        return []

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> None:
        """Nothing is reported of single loaders."""

    def _conclude(self, trainer: Trainer, module: LightningModule, place: str) -> None:
        result = self.attempt(trainer, "profile the run", self._run.report, trainer, module)
        if result is not None:
            self.results[place] = result
            self.attempt(trainer, "say what is alarming", self._reporter.say, trainer, place, result)
            shown = self._drawn(result, place)
            self._reporter.write(trainer, place, "", tag=self.tag, result=result, shown=shown)

    def show(self, result: ProfileReport, title: str) -> Iterator[Tagged]:
        """The figures, the modules, and where the seconds went."""
        from lightning_posttrain.profile.render.profile import profile_artifacts

        yield from profile_artifacts(result, tag=self.tag, title=title)

    def kept(self) -> dict[str, Any]:
        """The training time."""
        return self._run.time.to_dict(perf_counter())

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._run.take_up(state)

    def release(self, trainer: Trainer) -> None:
        """Give the profiler back."""
        self._run.end(trainer)
