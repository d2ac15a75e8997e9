"""Errors of a callback's own code cost no run: each is said once, and the callback sits out the rest of the epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from lightning.pytorch import Trainer

from lightning_posttrain.core.callback.reporting import Reporter
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.stream.faults import is_configuration
from lightning_posttrain.core.stream.stream import EvaluationStream

Value = TypeVar("Value")
CURE = "It has no figures of this epoch."


class Harmless:
    """For a callback with a ``Reporter``.

    Attributes:
        out: stages in whose present epoch something went wrong.
    """

    on_error: Literal["warn", "raise"]
    _reporter: Reporter
    targets: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.out: set[str] = set()

    def attempt(
        self,
        trainer: Trainer,
        what: str,
        call: Callable[..., Value],
        *args: Any,
        configures: bool = False,
    ) -> Value | None:
        """What a call gives, or None where it fails.

        Args:
            trainer: of the run.
            what: is attempted, in the words of a warning.
            call: of the callback's own code.
            *args: its arguments.
            configures: whether a ``ValueError`` in it says that what was configured would give wrong figures.

        Raises:
            ValueError: it does, and nothing has been trained yet.
            Exception: any, where ``on_error`` is ``"raise"``.
        """
        try:
            return call(*args)
        except Exception as error:
            if configures and is_configuration(trainer, error):
                raise
            self.out.add(stage_of(trainer))
            self._reporter.tell(EvaluationStream.of(trainer), what, CURE, error)
        return None

    def attempt_each(self, what: str, trainer: Trainer, call: Callable[[Any], None]) -> None:
        """Attempt something, of which a ``ValueError`` may be raised, with itself and with its copies for targets."""
        for part in (self, *self.targets.values()):
            part.attempt(trainer, what, call, part, configures=True)
