"""One epoch of one stage: what has been read of each of its loaders."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_posttrain.core.capture.loaders import RowCounter
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.reading import Part, Reading

Place = tuple[int, Reading]


@dataclass(eq=False)
class Epoch:
    """The state of one epoch."""

    counters: dict[int, RowCounter] = field(default_factory=dict)
    parts: dict[Place, Part] = field(default_factory=dict)
    finished: dict[Reading, list[Evaluation]] | None = None
