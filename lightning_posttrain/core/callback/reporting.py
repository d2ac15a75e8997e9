"""How a result is kept, logged, drawn and written, and how an error in that costs no run."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import pkgutil
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image as PILImage

from lightning_posttrain.core.callback.scalars import log_scalars, step_of
from lightning_posttrain.core.output.artifacts import File, Tagged
from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.find import find_sinks
from lightning_posttrain.core.stream.stream import EvaluationStream

PACKAGE = "lightning_posttrain."


class Reporter:
    """Reports the results of one callback.

    Args:
        owner: the callback's class, whose name stands in warnings, and whose wing has the renderers.
        name: what goes before a quantity in tags, or None.
        on_error: ``"warn"`` or ``"raise"``.
    """

    def __init__(self, owner: type, name: str | None, on_error: Literal["warn", "raise"]) -> None:
        self.owner = owner.__name__
        self.wings = [kind.__module__.split(".")[1] for kind in owner.__mro__ if kind.__module__.startswith(PACKAGE)]
        self.name = name
        self.on_error = on_error

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
            log_scalars(trainer, module, named, {tags[key] for key in unshown})

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
    ) -> None:
        """Submit to the background, on the first rank, what is to be drawn and written; what cannot be is said once."""
        epoch = trainer.current_epoch if epoch is None else epoch
        # in a fast_dev_run Lightning writes nothing either
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        stream = EvaluationStream.of(trainer)
        sinks: list[Sink] = []
        with self.guarded(trainer, "reach a logger", "Check the loggers."):
            sinks.extend(find_sinks(trainer.loggers, f"{stream.folder.rstrip('/')}/posttrain"))
        for wing in self.wings:
            import_all(f"{PACKAGE}{wing}.render")
        step = step_of(trainer)
        work = _Work(
            artifacts=_with_record(tag, result, {"epoch": epoch, "step": step}, shown),
            sinks=sinks,
            tag_of=lambda quantity: self.tag(stage, quantity, suffix),
            step=step,
            tell=partial(self.tell, stream),
        )
        stream.writer.submit(self.tag(stage, tag, suffix), work.do)

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

    def tell(self, stream: EvaluationStream, what: str, cure: str, error: Exception) -> None:
        """Say once what could not be done, or raise it."""
        if self.on_error == "raise":
            raise error
        stream.say_once(
            f"{self.owner} could not {what}: {type(error).__name__}: {str(error).rstrip('.')}. The run goes on. {cure} "
            "on_error='raise' shows where it happened.",
            f"{self.owner} {what} {type(error).__name__}",
        )


@dataclass(frozen=True, eq=False)
class _Work:
    """What is done in the background for one result, all taken from the trainer before.

    Args:
        artifacts: drawn as they are asked for.
        sinks: where they go.
        tag_of: from a quantity to its tag.
        step: of the trainer.
        tell: says in the main thread what could not be done, the cure, and the error.
    """

    artifacts: Iterable[Tagged]
    sinks: Sequence[Sink]
    tag_of: Callable[[str], str]
    step: int
    tell: Callable[[str, str, Exception], None]

    def do(self) -> list[Remark]:
        """Draw and write, and give what is to be said."""
        remarks: list[Remark] = []
        ready: list[Tagged] = []
        with torch.no_grad():  # what a result works out when first asked for stays in it
            with self._noted(remarks, "draw", "What was drawn before is kept."):
                ready.extend(self.artifacts)
            for sink in self.sinks:
                with self._noted(remarks, f"write to {sink}", "Check that it can be written to."):
                    for tagged in ready:
                        sink.write(self.tag_of(tagged.tag), tagged.artifact, self.step)
        return remarks

    @contextlib.contextmanager
    def _noted(self, remarks: list[Remark], what: str, cure: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            remarks.append(partial(self.tell, what, cure, error))


@cache
def import_all(room: str) -> None:
    """Import a room, where there is one, and what Pillow loads when it first writes a file, in the main thread.

    A process that is forked while another thread imports a module, as a loader's workers are at the next epoch's
    start, would wait for ever to import that module itself.
    """
    if importlib.util.find_spec(room) is not None:
        for module in pkgutil.iter_modules(getattr(importlib.import_module(room), "__path__", ())):
            importlib.import_module(f"{room}.{module.name}")
    PILImage.preinit()


def _with_record(tag: str, result: Result, moment: Mapping[str, int], shown: Iterable[Tagged]) -> Iterator[Tagged]:
    """A result as JSON, one line for each key, before what is shown of it.

    Easy on the eye, and no line for each number of a matrix.
    """
    record: dict[str, Any] = {**moment, **result.to_dict()}
    lines = (json.dumps({key: value}, ensure_ascii=False, allow_nan=False)[1:-1] for key, value in record.items())
    content = "{{\n  {}\n}}\n".format(",\n  ".join(lines)).encode(errors="backslashreplace")
    yield Tagged(tag, File(content, ".json"))
    yield from shown
