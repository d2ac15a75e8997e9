"""What is explained by perturbed inputs, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.core.callback.options import at_least
from lightning_posttrain.explanations.perturbation.arguments import positions
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward
from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.segments import parts_of
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.kinds import Kind, kind_of
from lightning_posttrain.samples.result import Sample

TITLES = {"lime": "LIME", "shap": "SHAP", "banzhaf": "Banzhaf values", "rise": "RISE", "anchors": "Anchors"}
READ = {
    "lime": "LIME: what a part adds to the score nearby, in a linear model of many copies with parts hidden.",
    "shap": "SHAP: what each part adds to the score with all hidden; that and all parts add up to the score.",
    "banzhaf": "Banzhaf values: what a part adds, on average over which other parts are there.",
    "rise": "RISE: the mean score where the part is there, above that of the least of the parts.",
    "anchors": "Anchors: while the marked parts stay, the class hardly ever changes, whatever else is hidden.",
}
"""How to read a picture, to someone who does not know the method."""
READ_OF_TABLES = {
    **READ,
    "lime": "LIME: what it adds to the score that the value is in its range, in a linear model nearby.",
    "shap": "SHAP: what each value adds to the average, the mean score with other rows' values; average and all values "
    "add up to the row's score.",
}
SIGNED = frozenset({"lime", "shap", "banzhaf"})


@dataclass(frozen=True, eq=False)
class PerturbationSettings:
    """How samples are explained.

    Args:
        methods: of ``TITLES``.
        parts: what inputs are taken apart into, see ``parts_of``.
        hidden: what stands for a hidden part, see ``hidden_of``.
        perturbations: perturbed copies of each sample that the model is asked for, of each kind.
        background: rows of a table that stand for a hidden value, at most.
        important: rows whose Shapley values give the importance of features; 0 for none.
        threshold: the precision that a rule should have.
        exact: whether rules are searched for with draws of their own (KL-LUCB).
        categorical: columns whose values are categories.
        bins: of each other column of a table; None for each method's own.
        display: how samples are shown.
        seed: of what is drawn.
    """

    methods: tuple[str, ...]
    parts: Any = None
    hidden: Any = None
    perturbations: int = 2048
    background: int = 64
    important: int = 100
    threshold: float = 0.95
    exact: bool = False
    categorical: tuple[int, ...] = ()
    bins: int | None = None
    display: Inputs = field(default_factory=Inputs)
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("perturbations", self.perturbations, 16)
        at_least("bins", 2 if self.bins is None else self.bins, 2)
        at_least("background", self.background, 1)
        at_least("important", self.important, 0)
        if not 0.5 < self.threshold <= 1:
            raise ValueError(f"`threshold` is {self.threshold}, wanted a precision above 0.5, up to 1.")

    def check(self, inputs: Tensor) -> None:
        """Raise where these do not go with inputs ``(K, ...)``.

        Raises:
            ValueError: an argument does not suit them.
        """
        kind = self.display.kind or kind_of(inputs)
        if kind is None:
            return
        if kind == "tabular":
            self._check_table(inputs.shape[1])
        words = self.display.words_of(inputs) if kind == "tokens" else ()
        with _named("parts"):
            parts = parts_of(inputs, kind, how=self.parts, words=words)
        with _named("hidden"):
            hidden_of(inputs, kind, parts, how=inputs if self.hidden is None and kind == "tabular" else self.hidden)

    def _check_table(self, columns: int) -> None:
        if self.parts is not None:
            raise ValueError(
                "`parts` is given for rows of a table, which are taken apart into their columns. Leave it out."
            )
        positions(self.categorical, None, columns)
        for name in ("mean", "std"):
            given = getattr(self.display, name)
            if given is not None and len(given) not in (1, columns):
                raise ValueError(f"`{name}` has {len(given)} values, and inputs have {columns} columns.")


@contextmanager
def _named(argument: str) -> Iterator[None]:
    """Errors of a function's ``how`` as those of the argument that it was given in."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace("`how`", f"`{argument}`")) from None


@dataclass(eq=False)
class Subject:
    """What is explained, and by what.

    Args:
        forward: from inputs to outputs ``(n, C)``.
        inputs: the samples, where and as the model takes them ``(K, ...)``.
        pick: weight of each output in what is explained ``(K, C)``.
        samples: what is known of each.
        shown: the samples as the loader gave them.
        class_names: of the outputs, where these are of classes.
        numbers: of the classes of all outputs but the last, which is of all other classes; none where it is of one.
        labels: for several labels a row, the number of the one that a sample is asked about, ``K`` of them; else None.
        rows: other rows of a table ``(N, F)``, or None.
        outputs: of the model for these ``(N, C)``, or None where they are to be asked for.
        unit: of the outputs.
        chunks: how many rows at a time, and how long.
        alone: whether the model is given something beside the inputs, that is each sample's own: ``forward`` then takes
            the number of the sample too.
    """

    forward: Forward
    inputs: Tensor
    pick: Tensor
    samples: tuple[Sample, ...]
    shown: Tensor
    kind: Kind
    class_names: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    labels: tuple[int, ...] | None = None
    rows: Tensor | None = None
    outputs: Tensor | None = None
    unit: str = "probability"
    chunks: Chunks = field(default_factory=lambda: Chunks(1024))
    alone: bool = False

    def only(self, k: int) -> Subject:
        """One of the samples."""
        part = slice(k, k + 1)
        labels = None if self.labels is None else self.labels[part]
        return replace(
            self, inputs=self.inputs[part], pick=self.pick[part], samples=self.samples[part], shown=self.shown[part],
            labels=labels, forward=self._forward_of(k), alone=False,
        )  # fmt: skip

    def _forward_of(self, k: int) -> Forward:
        forward: Any = self.forward
        return partial(forward, sample=k) if self.alone else self.forward
