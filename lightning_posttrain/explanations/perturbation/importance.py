"""Shapley values of many rows of a table, which say what the model relies on."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lightning_posttrain.explanations.perturbation.cooperative_game import Game, as_outputs, ask
from lightning_posttrain.explanations.perturbation.plans import Method
from lightning_posttrain.explanations.perturbation.segments import Parts
from lightning_posttrain.explanations.perturbation.settings import PerturbationSettings, Subject
from lightning_posttrain.explanations.perturbation.shapley import all_outputs
from lightning_posttrain.explanations.result.interpretation import Importance

MOST_CLASSES = 10
"""Classes whose Shapley values are worked out: those that are predicted most."""
FEW = 16
"""Background rows."""


def importance_of(
    subject: Subject, how: PerturbationSettings, parts: Parts, rows: Tensor, hidden: Callable[[Tensor, int], Tensor]
) -> Importance:
    """Shapley values of the first rows, of the classes that are predicted most.

    Args:
        subject: the model.
        how: how many rows, and the seed.
        parts: the columns.
        rows: of the table, in random order ``(N, F)``.
        hidden: from inputs and a number to what stands for hidden values, at most so many rows.

    Raises:
        OutOfTimeError: the time is over.
    """
    rows = rows[: how.important]
    behind, count = hidden(rows, FEW), parts.count
    known = ask(subject.forward, rows, subject.chunks) if subject.outputs is None else subject.outputs[: len(rows)]
    chosen = most_predicted(known.cpu(), len(subject.numbers) or None)

    def forward(x: Tensor) -> Tensor:
        return as_outputs(subject.forward(x), len(x))[:, chosen.to(x.device)]

    numbers = subject.numbers or range(known.shape[1])
    game = Game(forward, rows, parts.index[:1], count, behind, subject.chunks)
    samples = None if count <= 8 else 2 * count + 256  # of 9 columns and more, all sets are too many for many rows
    method: Method = "auto" if count <= 8 else "kernel"
    found = all_outputs(game, method=method, samples=samples, seed=how.seed)
    names = subject.class_names or (subject.unit,)
    return Importance(
        names=parts.names[0], class_names=tuple(names[i] for i in chosen.tolist()),
        values=found.values.movedim(1, 0).float(), shown=how.display.shown(rows.cpu(), "tabular"),
        method=found.method, background=behind.shape[1], unit=subject.unit,
        classes=tuple(numbers[i] for i in chosen.tolist()),
    )  # fmt: skip


def most_predicted(outputs: Tensor, classes: int | None = None) -> Tensor:
    """The classes, of the first ``classes`` or of all, that outputs ``(N, C)`` are largest for most often, in order."""
    times = outputs.argmax(1).bincount(minlength=outputs.shape[1])[:classes]
    return times.sort(descending=True, stable=True).indices[:MOST_CLASSES].sort().values
