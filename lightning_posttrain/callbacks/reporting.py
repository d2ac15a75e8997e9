"""How a result is kept, logged, drawn and written, and how an error in that costs no run."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.artifacts import File, Tagged
from lightning_posttrain.callbacks.logging import log_scalars, step_of
from lightning_posttrain.results import Result
from lightning_posttrain.sinks import Sink, find_sinks
from lightning_posttrain.stream import EvaluationStream


class Reporter:
    """Reports the results of one callback.

    Args:
        owner: the callback's name in warnings.
        name: what goes before a quantity in tags, or None.
        on_error: ``"warn"`` or ``"raise"``.
    """

    def __init__(self, owner: str, name: str | None, on_error: Literal["warn", "raise"]) -> None:
        self.owner = owner
        self.name = name
        self.on_error = on_error

    def log(
        self, trainer: Trainer, module: LightningModule, stage: str, suffix: str, scalars: Mapping[str, float]
    ) -> None:
        """Log scalars as the module's own; all ranks together."""
        if scalars and not trainer.barebones:
            log_scalars(trainer, module, {self.tag(stage, key, suffix): value for key, value in scalars.items()})

    def say(self, trainer: Trainer, key: str, result: Result) -> None:
        """Warn of what a result is alarmed at, each once a run, on the first rank."""
        if trainer.is_global_zero:
            for alert in result.alerts:
                EvaluationStream.of(trainer).say_once(f"{key}: {alert}.", re.sub(r"\d+", "", alert))

    def write(self, trainer: Trainer, stage: str, suffix: str, record: Tagged, shown: Iterable[Tagged]) -> None:
        """Draw and write, on the first rank; what cannot be is said once."""
        # in a fast_dev_run Lightning writes nothing either
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        folder = f"{EvaluationStream.of(trainer).folder.rstrip('/')}/posttrain"
        ready = [record]
        with self.guarded(trainer, "draw", "What was drawn before is kept."):
            ready.extend(shown)
        sinks: list[Sink] = []
        with self.guarded(trainer, "reach a logger", "Check the loggers."):
            sinks.extend(find_sinks(trainer.loggers, folder))
        for sink in sinks:
            with self.guarded(trainer, f"write to {sink}", "Check that it can be written to."):
                for tagged in ready:
                    sink.write(self.tag(stage, tagged.tag, suffix), tagged.artifact, step_of(trainer))

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
            if self.on_error == "raise":
                raise
            EvaluationStream.of(trainer).say_once(
                f"{self.owner} could not {what}: {type(error).__name__}: {error}. The run goes on. {cure} "
                "on_error='raise' shows where it happened.",
                f"{self.owner} {what} {type(error).__name__}",
            )


def record_of(trainer: Trainer, tag: str, result: Result) -> Tagged:
    """A result as JSON, one line for each key: easy on the eye, and no line for each number of a matrix."""
    record: dict[str, Any] = {"epoch": trainer.current_epoch, "step": step_of(trainer), **result.to_dict()}
    lines = (json.dumps({key: value}, ensure_ascii=False, allow_nan=False)[1:-1] for key, value in record.items())
    content = "{{\n  {}\n}}\n".format(",\n  ".join(lines)).encode(errors="backslashreplace")
    return Tagged(tag, File(content, ".json"))
