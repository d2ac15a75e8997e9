"""What TensorBoard is told beside scalars and pictures: which scalars share a chart, and which are final metrics."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.callback.overhead import affords
from lightning_posttrain.core.callback.reporting import PACKAGE, Reporter, writes
from lightning_posttrain.core.callback.reports import Reports
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.imports import import_all
from lightning_posttrain.core.stream.run import progress
from lightning_posttrain.core.stream.stream import EvaluationStream


def lay_out_charts(trainer: Trainer, reporter: Reporter) -> None:
    """Say once a run which scalars share a chart, when those of training and of validation are known."""
    stream = EvaluationStream.of(trainer)
    logged = [name for name in trainer.logged_metrics if writes(trainer)]
    if logged and not stream.outlet.laid_out:
        stream.outlet.laid_out = True
        layout = importlib.import_module(f"{PACKAGE}report.charts").chart_layout(logged)
        reporter.write_files(trainer, "charts", [Tagged("charts", layout)], loggers=reporter.sinks(trainer))


def draw_at_a_glance(trainer: Trainer, reporter: Reporter) -> None:
    """Draw the curves of a training so far, at the steps at which loggers get pictures; on the first rank."""
    outlet, room = EvaluationStream.of(trainer).outlet, affords(trainer, reporter.max_overhead)
    if room and writes(trainer) and outlet.files.disk and outlet.steps.chosen("results", None, progress(trainer)):
        import_all(f"{PACKAGE}report.render")
        curves = importlib.import_module(f"{PACKAGE}report.closing").at_a_glance(outlet.files.disk)
        reporter.write_files(trainer, "results", curves, loggers=reporter.sinks(trainer), optional=True)


def announce_final_metrics(trainer: Trainer, module: LightningModule) -> None:
    """Let the HParams page show what is monitored and our main figures, beside hyperparameters that Lightning logs.

    It would show ``hp_metric``, which is -1. The page goes by the first that it is told of a run: so this comes before
    Lightning tells, and only where a logger would tell of ``hp_metric``.
    """
    tags = dict.fromkeys([*monitored(trainer), *_main(trainer)], 0.0)
    telling: list[Any] = [one for one in trainer.loggers if getattr(one, "_default_hp_metric", None) is True]
    params = _hyperparameters(trainer, module) if writes(trainer) and telling else {}
    for logger in telling if params and tags else ():
        writer = getattr(logger.experiment, "_get_file_writer", lambda: None)()
        if writer is not None:
            from torch.utils.tensorboard.summary import hparams

            experiment, _, _ = hparams(params, tags)  # type: ignore[no-untyped-call]
            writer.add_summary(experiment, 0)


def _hyperparameters(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Those that Lightning will log, as it does."""
    from lightning.fabric.utilities.logger import _convert_params, _flatten_dict, _sanitize_params

    found: dict[str, Any] = {}
    for owner in (module, trainer.datamodule):  # type: ignore[attr-defined]
        if getattr(owner, "_log_hyperparams", False):
            found.update(owner.hparams_initial or {})
    found.pop("_class_path", None)
    plain: dict[str, Any] = _sanitize_params(_flatten_dict(_convert_params(found)))
    return plain


def _main(trainer: Trainer) -> Iterator[str]:
    """Figures of validation and test that are logged under no tag of a callback's own."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Reports):
            names = [name for name in callback.charts() if "/" not in name and "*" not in name]
            stages = [stage for stage in ("val", "test") if stage in callback.stages]
            yield from (callback._reporter.tag(stage, name, "") for stage in stages for name in names)


def monitored(trainer: Trainer) -> Iterator[str]:
    """What checkpoints, early stopping and schedules of learning rates of a trainer look at."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str):
            yield monitor
    yield from (config.monitor for config in trainer.lr_scheduler_configs if config.monitor)
