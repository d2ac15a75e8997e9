"""What passes between the evaluation stream and a callback."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.reading import Again, Reading
from lightning_posttrain.core.stream.replay import Replay

Value = TypeVar("Value")
Needs = tuple[type[StreamMetric], ...]


class Member(Protocol):
    """What the stream asks of a callback."""

    @property
    def on_error(self) -> str:
        """``"warn"`` or ``"raise"``."""

    @property
    def out(self) -> Collection[str]:
        """Stages in whose present epoch something of its own went wrong."""

    def attempt(
        self, trainer: Trainer, what: str, call: Callable[..., Value], *args: Any, configures: bool = False
    ) -> Value | None:
        """What a call of its own code gives, or None where that fails, which costs no run."""

    @property
    def reading(self) -> Reading:
        """How it reads a batch."""

    @property
    def said(self) -> Reading:
        """How its user said that a batch is to be read."""

    def tell(self, readings: Mapping[str, Reading]) -> None:
        """Know what ``said`` amounts to: one reading under ``""``, or one for each target by its name."""

    def parts(self) -> Sequence[Member]:
        """Itself, or one for each target."""

    @property
    def slot(self) -> tuple[str, str | None]:
        """What its tags begin with; two callbacks with the same one would write over each other."""

    @property
    def action(self) -> str:
        """How what it does is called before a clock, as ``"[Callback]ConfusionMatrix{'name': None}"``."""

    @property
    def max_overhead(self) -> float | None:
        """Share of a fit's seconds that its optional work keeps to, together with others of the same; None for none."""

    @property
    def looks(self) -> bool:
        """Whether it sees each batch by itself."""

    @property
    def names_samples(self) -> bool:
        """Whether it tells where samples stand in the dataset, or uses it."""

    def takes(self, trainer: Trainer) -> bool:
        """Whether it wants the batches of the trainer's present stage."""

    def hears(self, trainer: Trainer) -> bool:
        """Whether it wants to know, beside, what reaches losses and metrics there."""

    def hears_calls(self, trainer: Trainer) -> bool:
        """Whether it wants to know, beside, which networks the next step calls, and with what."""

    def metrics(self) -> Needs:
        """The metrics it needs."""

    def check(self, module: LightningModule, batch: Any) -> None:
        """Raise where its arguments do not go with the first batch."""

    def observe(self, key: str, batch: Any) -> None:
        """See a batch of the loader named ``key``, as ``"val"`` or ``"val/dataloader_1"``."""

    @property
    def asks_again(self) -> bool:
        """Whether it wants to know what other weights make of each batch."""

    def replay(self, key: str, batch: Any, again: Replay) -> None:
        """Ask the module for a batch again, whatever its weights are at each call; for who ``asks_again``."""


def no_predictions(_inputs: Any, _context: Any) -> Any:
    """Of what reads no predictions."""
    raise ValueError("no predictions are read, and the network is not to be asked for any")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One loader's finished epoch, as a callback gets it.

    Args:
        stage: ``"train"``, ``"val"`` or ``"test"``.
        suffix: what follows a quantity in a tag, as ``""`` or ``"/dataloader_1"``.
        names: of what figures tell apart, as classes, in order.
        results: by metric class.
        independent: whether each row is a sample of its own, as pixels of an image are not.
        again: from inputs, and what goes along with them row by row, to predictions in the family's own form, as
            logits ``(N, C)``, through the module as it is.
        own: what the module itself logged in its steps of the loader, by name.
        target: name of the target, where the step has several.
        resumed: whether its batches were before the checkpoint that the run goes on from; nobody has observed them.
    """

    stage: str
    suffix: str
    names: tuple[str, ...]
    results: Mapping[type[StreamMetric], Result]
    independent: bool
    again: Again = no_predictions
    own: Mapping[str, float] = field(default_factory=dict)
    target: str = ""
    resumed: bool = False

    @property
    def key(self) -> str:
        """Stage, and loader where it is not the first, as ``"val"`` or ``"test/dataloader_1"``."""
        return self.stage + self.suffix

    @property
    def label(self) -> str:
        """The same with the target, where there are several, as ``"val/species"``: for people, and for ``results``."""
        return f"{self.stage}/{self.target}{self.suffix}" if self.target else self.key

    def result(self, kind: type[StreamMetric]) -> Any:
        """The result of a metric that was asked for."""
        return self.results[kind]
