"""Which samples a callback explains, chosen of each loader while an epoch goes by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lightning_posttrain.core.callback.options import one_of
from lightning_posttrain.core.capture.loaders import RowCounter, Rows
from lightning_posttrain.core.capture.target_and_inputs import describe_inputs
from lightning_posttrain.samples.batch import ScoredBatch
from lightning_posttrain.samples.first_samples import FirstSamples
from lightning_posttrain.samples.kinds import Kind, is_unclear, known_kind
from lightning_posttrain.samples.reservoir import Chosen, FixedSamples, RankedSamples
from lightning_posttrain.samples.selectors import ErrorsElseFixed, selector_of

OF_CLASSES = 64
"""Samples, at most, for the mean maps of classes."""
EACH = 4
"""Of each class, where there are not too many."""


class Selection:
    """Samples of each loader.

    Args:
        samples: how many, or positions in the dataset.
        choose: ``"fixed"``, ``"errors"`` or a cell of the confusion matrix; None for errors on test, where there are
            any, and fixed ones else.
        kind: of the inputs, or None.
        classes: whether some of each class are wanted beside.
        tell: says once why nothing is drawn.
    """

    def __init__(
        self,
        samples: int | Sequence[int],
        choose: str | Sequence[int | str] | None,
        kind: Kind | None,
        *,
        classes: bool,
        tell: Callable[[str], None],
    ) -> None:
        self.samples = samples if isinstance(samples, int) else tuple(samples)
        self.count = self.samples if isinstance(self.samples, int) else len(self.samples)
        self.choose = choose if choose is None or isinstance(choose, str) else tuple(choose)
        wrong = [p for p in (() if isinstance(self.samples, int) else self.samples) if type(p) is not int or p < 0]
        if wrong:
            raise ValueError(f"`samples` has {wrong[0]!r}, wanted positions in the dataset, whole numbers from 0.")
        if self.count < 1:
            raise ValueError(f"`samples` is {samples!r}, wanted at least 1, or positions in the dataset.")
        if isinstance(choose, str):
            one_of("choose", choose, ("fixed", "errors"))
        elif choose is not None and len(choose) != 2:
            raise ValueError(f"`choose` is {choose!r}, wanted 'fixed', 'errors' or (actual, predicted).")
        self.kind = kind
        self.classes = classes
        self.tell = tell
        self.forget()

    def forget(self) -> None:
        """A run begins: samples are chosen anew."""
        self.rows = 1
        self._samples: dict[str, Any] = {}
        self._of_classes: dict[str, FixedSamples] = {}
        self._counters: dict[str, RowCounter] = {}
        self._told = False

    def can(self, inputs: Any, rows: int | None = None) -> bool:
        """Whether inputs can be explained; if not, says once why."""
        reason = why_not(inputs, self.kind)
        if not reason and rows not in (None, len(inputs)):
            reason = (
                "there is a class for each position of an input, not one for each. Explain a mask's class with "
                "explain=lambda output, inputs: output[:, 1].sum((1, 2)), or leave the callback out."
            )
        if reason:
            self.refuse(reason)
        return not reason

    def refuse(self, reason: str) -> None:
        """Say why nothing is drawn, once a run."""
        if not self._told:
            self._told = True
            self.tell(reason)

    def offer(self, key: str, batch: ScoredBatch, names: Sequence[str]) -> None:
        """Look at a batch of a loader."""
        if not self.can(batch.inputs, len(batch.target)):
            return
        self.rows = max(self.rows, len(batch.inputs))
        if key not in self._samples:
            testing = key.split("/", maxsplit=1)[0] == "test"
            choose = self.choose or ("errors or fixed" if testing else "fixed")
            self._samples[key] = selector_of(self.samples, choose, names, batch)
            if self.classes and not batch.multilabel and EACH * batch.num_classes <= OF_CLASSES:
                self._of_classes[key] = FixedSamples(EACH * batch.num_classes)
        self._samples[key].offer(batch)
        if key in self._of_classes:
            self._of_classes[key].offer(batch)

    def take(self, key: str, inputs: Tensor, loader: Any, prove: Callable[[Rows], Rows]) -> None:
        """Look at inputs that have no classes, of a loader, where ``prove`` leaves the positions that are true."""
        self.rows = max(self.rows, len(inputs))
        if key not in self._samples:
            self._samples[key] = FirstSamples(self.samples)
            self._counters[key] = RowCounter(loader)
        rows = prove(self._counters[key].take(len(inputs), inputs.device))
        self._samples[key].take(inputs, rows.index)

    def chosen(self, key: str) -> Chosen | None:
        """What was chosen of a loader."""
        samples = self._samples.get(key)
        found: Chosen | None = None if samples is None else samples.chosen()
        missing = getattr(samples, "missing", [])
        if missing:
            self.refuse(
                f"at positions {missing} of {key}: no row with a class came by from there, or the loader's "
                "sampler tells no positions. Pass positions of the dataset, and a loader that does not shuffle."
            )
        return found

    def fixed(self, key: str) -> bool:
        """Whether the choice is the same in every epoch."""
        return not isinstance(self._samples.get(key), (RankedSamples, ErrorsElseFixed))

    def of_classes(self, key: str) -> Chosen | None:
        """Some samples of each class."""
        samples = self._of_classes.get(key)
        return None if samples is None else samples.chosen()


def why_not(inputs: Any, kind: Kind | None) -> str:
    """Why inputs cannot be explained, with the cure; nothing where they can."""
    if known_kind(inputs, kind) is not None:
        return ""
    if kind is None and isinstance(inputs, Tensor) and is_unclear(inputs.shape[1:]):
        return (
            f"inputs of shape {tuple(inputs.shape)} may be images whose channels stand last, or series of "
            f"{inputs.shape[1]} channels. Pass kind='image' for the first; for the second "
            "inputs_fn=lambda batch: batch[0][..., 0] and forward_fn=lambda module, inputs: module(inputs[..., None])."
        )
    wanted = f"a batch of kind {kind!r}" if kind else "a tensor: images, series, tabular rows or tokens"
    return (
        f"it wants {wanted}, and the inputs are {describe_inputs(inputs)}. Pass inputs_fn=lambda batch: ... to say "
        "where they are, or leave the callback out."
    )
