"""A callback knows what its reading amounts to once a step has told: with several targets a copy reports each."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from lightning.pytorch.utilities import rank_zero_warn

from lightning_posttrain.core.callback.kept_form import dict_of
from lightning_posttrain.core.callback.reporting import Reporter
from lightning_posttrain.core.stream.faults import WHERE, could_not
from lightning_posttrain.core.stream.reading import Reading


class TargetCopies:
    """For a callback with a ``reading``; what it keeps of one target is a copy's own where there are several."""

    several_targets: ClassVar[bool] = True
    reading: Reading
    name: str | None
    on_error: Literal["warn", "raise"]
    pictures_every: int | None
    results: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.targets: dict[str, Any] = {}
        self._of_target = ""
        self._as_said: Reading | None = None

    @property
    def said(self) -> Reading:
        """How the user said that a batch is to be read."""
        return self.reading if self._as_said is None else self._as_said

    def tell(self, readings: Mapping[str, Reading]) -> None:
        """Know what that amounts to, once a step has told: one reading, or one for each target, by a copy for each.

        Raises:
            ValueError: there are several, and the callback is for one.
        """
        if len(readings) > 1 and not self.several_targets:
            first, *others = map(repr, readings)
            kind = type(self).__name__
            raise ValueError(
                f"the step has targets {', '.join([first, *others])}; {kind} is of one. Pass target={first}."
            )
        self._as_said = self.said
        if list(readings) == [""]:
            self.targets, self.reading = {}, readings[""]
        else:
            self.targets = {name: self._copy(name, reading) for name, reading in readings.items()}

    def parts(self) -> Sequence[Any]:
        """Itself, or its copies for the targets of the step."""
        return tuple(self.targets.values()) or (self,)

    def _copy(self, name: str, reading: Reading) -> Any:
        part = self.targets.get(name)
        if part is None:
            part = copy.deepcopy(self, {id(self.results): self.results, id(self.targets): {}})
            part.name, part._of_target = f"{self.name}/{name}" if self.name else name, name
            part.__dict__["_reporter"] = Reporter(part)
        part._as_said, part.reading = reading, reading
        return part


class KeptState:
    """For a callback that goes on, in a run that is resumed, with what it kept, each of its targets with its own.

    A checkpoint may hold what another version, another program or a broken disk wrote: what cannot be taken up is said,
    and the callback begins anew.
    """

    keeps: ClassVar[str] = "its history"
    """What is lost where it cannot be taken up."""
    regained: ClassVar[str] = "Go on from another checkpoint, or start the run anew, to have it whole."
    """How it is had again."""
    targets: dict[str, Any]

    def kept(self) -> dict[str, Any]:
        """Plain values and tensors that a run which is resumed goes on with."""
        return {}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on with what ``kept`` gave, or begin anew where it is empty.

        Raises:
            ValueError: it is not of that form; then nothing is changed.
        """

    def state_dict(self) -> dict[str, Any]:
        """What it keeps, of each target where there are several."""
        found = {name: part._kept_or_nothing() for name, part in self.targets.items()}
        return {"targets": found} if any(found.values()) else {} if found else self._kept_or_nothing()

    def _kept_or_nothing(self) -> dict[str, Any]:
        owner: Any = self
        try:
            return self.kept()
        except Exception as error:
            if owner.on_error == "raise":
                raise
            reason = could_not(type(self).__name__, f"keep {self.keeps} in a checkpoint", error)
            rank_zero_warn(f"{reason} The run goes on. {WHERE}")
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was kept; of what cannot be taken up, say so once and begin anew."""
        given: Any = state_dict
        targets = given.get("targets") if isinstance(given, dict) else None
        if not isinstance(targets, dict):
            return self._take_up_or_begin(given)
        owner: Any = self
        for name, state in targets.items():
            owner.targets[name] = part = owner._copy(str(name), owner.reading)
            part._take_up_or_begin(state)
        return None

    def _take_up_or_begin(self, state: Any) -> None:
        with self.or_begin_anew():
            self.take_up(dict_of(state, "the state"))

    @contextlib.contextmanager
    def or_begin_anew(self) -> Iterator[None]:
        """Where what a checkpoint held cannot be gone on with, say so and begin anew, if errors are not raised."""
        owner: Any = self
        try:
            yield
        except Exception as error:
            if owner.on_error == "raise":
                raise
            self.take_up({})
            self._say_lost(error)

    def _say_lost(self, error: Exception) -> None:
        rank_zero_warn(
            f"{type(self).__name__} cannot go on with what the checkpoint holds of it and has lost {self.keeps}: "
            f"{type(error).__name__}: {error} The run goes on. {self.regained} {WHERE}"
        )
