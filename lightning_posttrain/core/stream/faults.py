"""What goes wrong costs no run: it is said once, and the figures that it spoils are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from lightning.pytorch import Trainer

from lightning_posttrain.core.stream.evaluation import Member

Place = TypeVar("Place")
WHERE = "on_error='raise' shows where it happened."


def could_not(who: str, what: str, error: Exception) -> str:
    """A sentence on what went wrong."""
    return f"{who} could not {what}: {type(error).__name__}: {str(error).rstrip('.')}."


def nothing_to_lose(trainer: Trainer) -> bool:
    """Whether no more than one batch has been trained on, so that an error is cheaper than a run without figures."""
    if trainer.sanity_checking or not trainer.global_step:
        return True
    return trainer.training and trainer.fit_loop.epoch_loop.total_batch_idx <= 0


def is_configuration(trainer: Trainer, error: Exception) -> bool:
    """Whether an error says, by being a ``ValueError``, that what was configured would give wrong figures, in time."""
    return isinstance(error, ValueError) and nothing_to_lose(trainer)


class Faults:
    """Errors in what is read for all callbacks.

    Args:
        say: says a text once, told from others by a key, or by itself.
        members: the callbacks.
    """

    def __init__(self, say: Callable[..., None], members: Iterable[Member]) -> None:
        self.say = say
        self.members = members

    @contextmanager
    def noted(self, trainer: Trainer, what: str, void: set[Place], place: Place) -> Iterator[None]:
        """Say what could not be done, and note the place whose figures are spoiled by it.

        Raises:
            ValueError: the configuration would give wrong figures, and nothing has been trained yet.
            Exception: any, where a callback's ``on_error`` is ``"raise"``.
        """
        try:
            yield
        except Exception as error:
            void.add(place)
            strict = any(member.on_error == "raise" for member in self.members)
            if strict or is_configuration(trainer, error):
                raise
            reason = could_not("lightning_posttrain", what, error)
            text = f"{reason} The run goes on, and this epoch has no figures of it. {WHERE}"
            self.say(text, f"{what} {type(error).__name__}")
