"""What the stream asks of a family: how a step becomes a batch, and what is accumulated of it.

A family of tasks, as classification, brings one ``Reading``; the stream knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lightning_posttrain.core.output.result import Result

if TYPE_CHECKING:
    from lightning_posttrain.core.capture.loaders import Rows
    from lightning_posttrain.core.capture.step import Step
    from lightning_posttrain.core.stream.metric import StreamMetric

Kinds = Iterable[type["StreamMetric"]]
Again = Callable[[Any, Sequence[Tensor]], Tensor]
"""From inputs, and what goes along with them row by row, to predictions in the family's own form."""
PAIRS = "pairs"
"""Name of the rule by which errors of one pair are ordered."""
TRUTH, SAID = "truth", "said"
"""Names of columns of the class that each position of an image has, and is predicted to have."""


@dataclass(frozen=True, eq=False)
class Given:
    """What the loader gave, taken before the step may change it.

    Args:
        target: the targets as they came.
        indices: the targets as they are read ``(N, ...)``, or None where they were not found.
        inputs: the inputs as they came, or None.
        problem: why the targets were not found; the step may tell.
        selected: whether they are of some of the rows alone, as those of a mask.
        gaps: whether some may be missing.
        ignored: a target that the step's own loss leaves out.
        form: of the predictions, in the family's words; "" for that of the reading.
        context: what the network was given beside the inputs, row by row, each ``(N, ...)``.
    """

    target: Any
    indices: Any
    inputs: Any
    problem: ValueError | None = None
    selected: bool = False
    gaps: bool = False
    ignored: int | None = None
    form: str = ""
    context: tuple[Tensor, ...] = ()

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Those of the targets as they are read, and as the loader gave them."""
        return tuple(part.shape for part in (self.indices, self.target) if isinstance(part, Tensor))


class NotCounted(ValueError):
    """Targets that cannot be counted, as those of a mixup: no error where the step trains."""


class Against(NamedTuple):
    """What contradicts a batch as it was read: sentences, and whether scores or targets were only a guess."""

    said: Sequence[str] = ()
    guessed: bool = False


class Found(NamedTuple):
    """What a finder found in a step: predictions as the network gave them, and what they are for.

    Args:
        predictions: of the step.
        given: what they are for.
        again: the same from the module as it is at the call, for the same batch; None where that cannot be asked for.
    """

    predictions: Tensor
    given: Given
    again: Callable[[nn.Module], Tensor] | None = None


class Caption(NamedTuple):
    """What stands below a sample: what it is, what it was taken for, and how sure that was; "" and NaN for nothing."""

    actual: str = ""
    predicted: str = ""
    probability: float = float("nan")


@dataclass(frozen=True, eq=False)
class Hardness:
    """How hard the ``S`` samples of a batch are.

    Args:
        loss: of each ``(S,)``.
        counted: False for samples that enter no figure ``(S,)``.
        rules: other orders by name ``(S,)``, the hardest with the largest value; ``-inf`` for who is not meant.
        columns: what a caption is made of, by name ``(S, ...)``.
        pair: number of the pair of what a sample is and was taken for ``(S,)``, where there are such; they are ordered
            by the rule ``PAIRS``.
    """

    loss: Tensor
    counted: Tensor
    rules: Mapping[str, Tensor] = field(default_factory=dict)
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    pair: Tensor | None = None


class Batch(Protocol):
    """One batch as a family reads it, and what callbacks that look at single samples ask of any family."""

    @property
    def inputs(self) -> Any:
        """What the network was given, or None."""

    @property
    def index(self) -> Tensor | None:
        """Position in the dataset ``(S,)``, or None where the sampler does not tell."""

    @property
    def size(self) -> int:
        """``S``, the number of samples."""

    def losses(self) -> Tensor:
        """Of each sample ``(S,)``; NaN for one that enters no figure."""

    def hardness(self) -> Hardness:
        """The same, with other orders, and what captions are made of."""


class Finder(Protocol):
    """Finds, in step after step of one stage, what the module predicted."""

    @property
    def listens(self) -> bool:
        """Whether it wants to know what reaches losses and metrics."""

    @property
    def modules(self) -> Collection[str] | None:
        """Names of the modules whose outputs it wants to know; None for all."""

    def find(self, step: Step, given: Given) -> Found:
        """The predictions of a step, and what they are for; raises with the cure."""


class Part(Protocol):
    """What is accumulated of one loader.

    ``independent`` says whether each row is a sample of its own.
    """

    independent: bool

    @property
    def metrics(self) -> Mapping[type[StreamMetric], StreamMetric]:
        """By their class."""

    @property
    def likeness(self) -> tuple[int, ...]:
        """What is equal in all batches, and on all ranks."""

    @property
    def seen(self) -> Tensor:
        """A sum that is equal on two ranks if these read the same rows."""

    def add(self, batch: Any) -> None:
        """Fold a batch, without a wait for the device."""

    def watch(self, batch: Any) -> None:
        """Add to ``seen``."""

    def flush(self) -> None:
        """Bring all that was gathered into the metrics."""

    def results(self) -> dict[type[StreamMetric], Result]:
        """What the metrics amount to."""


class Reading(Protocol):
    """How a family reads steps; hashable, and equal readings are done once."""

    @property
    def alike(self) -> tuple[str, ...]:
        """Names of what is equal in all batches and on all ranks, as ``("num_classes",)``: arguments, for errors."""

    @property
    def inputs_fn(self) -> Callable[[Any], Any] | None:
        """From a batch to its inputs, where they are not found by themselves."""

    def given(self, batch: Any) -> Given:
        """What the loader gave, with the problem where no targets were found."""

    def given_again(self, given: Given) -> Given:
        """What another reading found in the same batch, as this one reads it."""

    @property
    def told(self) -> Mapping[str, Any]:
        """What a step may tell, in plain values."""

    def retold(self, told: Mapping[str, Any]) -> Reading:
        """Itself, with what a step has told on another rank."""

    def differs(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
        """Why what two stages told cannot both be; nothing where it can."""

    def hear(self, step: Step, given: Given) -> Mapping[str, Reading]:
        """The readings that this one amounts to after what a step says: itself under ``""``, or one for each target."""

    def finder(self, taught: Sequence[Any]) -> Finder:
        """One for each stage; ``taught`` are those of other stages of the same module."""

    def batch(self, found: Tensor, given: Given, rows: Rows) -> Batch:
        """What a finder found, in the one form that the family's metrics read."""

    def check(self, batch: Any, found: Tensor, given: Given) -> None:
        """Raise where the first batch of a loader contradicts what was said."""

    def against(self, batch: Any, given: Given, own: Mapping[str, float]) -> Against:
        """Which of the figures that the module itself logged of a batch contradict it."""

    def likeness(self, batch: Any) -> tuple[int, ...]:
        """The values of ``alike`` in a batch."""

    def unlike(self, key: str, before: tuple[int, ...], now: tuple[int, ...], other: str = "") -> str:
        """Why two batches of the loader ``key``, or of two stages, may not differ so, with the cure; "" if they may."""

    def part(self, likeness: tuple[int, ...], kinds: Kinds, device: torch.device) -> Part:
        """Accumulators of one loader."""

    def names(self, likeness: tuple[int, ...], loader: Any) -> tuple[str, ...]:
        """Names of what figures tell apart, as the dataset's classes."""

    def model(self, module: Any, finder: Any, likeness: tuple[int, ...]) -> Again:
        """A function from inputs, and what goes along with them, to predictions, through the module as it is."""

    def as_read(self, output: Any) -> Tensor:
        """Predictions that a user's function gave, in the family's own form."""

    def captions(self, columns: Mapping[str, Tensor], names: Sequence[str]) -> list[Caption]:
        """What is written below samples, from the columns of ``Hardness``."""
