"""What is kept of a loader's epoch for ``HardExamples``, and how ranks join it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_posttrain.classification import ConfusedPair
from lightning_posttrain.core.capture.target_and_inputs import describe_inputs
from lightning_posttrain.core.stream.gathered import Gathered
from lightning_posttrain.core.stream.packed_columns import Layout, packed, unpacked
from lightning_posttrain.core.stream.reading import PAIRS, SAID, TRUTH, Batch, Caption
from lightning_posttrain.core.stream.top_k import UNKNOWN, Hardest, thumbnails
from lightning_posttrain.hard_examples.result import HardExample, HardGroup, HardReport
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.kinds import Kind, channel_dim, known_kind

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

PAIRS_KEPT = 64
"""Confused pairs of which samples are kept, those that were confused most often so far; twice as many as are shown,
where that is more."""
LARGEST = 1 << 16
"""Numbers in an input that is kept for the eye."""
MASKS = frozenset({TRUTH, SAID})
SHAPED = MASKS | {"inputs"}
"""Columns that are kept as long as they have one shape."""
NOTHING_KEPT = "; no sample was kept"
LOSS = "highest_loss"
RULES = {
    LOSS: "highest loss",
    "confident_errors": "most confident errors",
    "unsure_hits": "least confident hits",
}
OF_MEMBERS = {"disagreement": "members disagree most"}
"""A rule for the scores of an ensemble."""
CaptionsFn = Callable[[Mapping[str, Tensor], Sequence[str]], list[Caption]]


class Keeping:
    """The hardest samples of one epoch of one loader.

    Args:
        k: samples of each rule.
        pairs: confused pairs that are shown.
        per_pair: samples of each.
        display: how samples are shown.
        captions: from the columns of a batch's ``Hardness`` to what stands below its samples.
        rules: by which samples are kept.
    """

    def __init__(
        self,
        k: int,
        pairs: int,
        per_pair: int,
        display: Inputs,
        captions: CaptionsFn,
        *,
        rules: Collection[str] = tuple(RULES),
    ) -> None:
        self._rules = {rule: {**RULES, **OF_MEMBERS}[rule] for rule in rules}
        self._kept = {rule: Hardest(k) for rule in rules}
        if pairs:
            self._kept[PAIRS] = Hardest(max(PAIRS_KEPT, 2 * pairs) * per_pair, per_pair, often=True)
        self._display = display
        self._captions = captions
        self._shape: torch.Size | None = None
        self._undrawn = ""
        self._kind: Kind | None = None
        self._samples = 0
        self._by_pair = True
        self._masks: dict[str, torch.Size] = {}
        self._gathered = Gathered()
        self._layout: Layout = {}

    def offer(self, batch: Batch) -> None:
        """Take a batch, without a synchronisation; small ones are looked at together."""
        self._samples += batch.size
        for due, inputs in self._gathered.add(batch, self._inputs(batch.inputs, batch.size)):
            self._look(due, inputs)

    @torch.no_grad()
    def _look(self, batch: Batch, inputs: Tensor | None) -> None:
        found = batch.hardness()
        self._by_pair &= PAIRS in found.rules
        columns = {"loss": found.loss, **found.columns, **({} if inputs is None else {"inputs": inputs})}
        for name in MASKS & columns.keys():
            if self._masks.setdefault(name, columns[name].shape[1:]) != columns[name].shape[1:]:
                del columns[name]
        tables, self._layout = packed(columns, alone=SHAPED)
        never = torch.full_like(found.loss, -torch.inf)
        index = batch.index if batch.index is not None and len(batch.index) == batch.size else None
        for rule, kept in self._kept.items():
            value = found.loss if rule == LOSS else found.rules.get(rule)
            if value is not None:
                group = found.pair if rule == PAIRS else None
                kept.offer(torch.where(found.counted, value, never), index, tables, group)

    def _taken(self) -> dict[str, dict[str, Tensor]]:
        """What was kept by each rule, with all that was gathered."""
        for due, inputs in self._gathered.flush():
            self._look(due, inputs)
        return {rule: unpacked(hardest.take(), self._layout) for rule, hardest in self._kept.items()}

    def _inputs(self, inputs: Any, samples: int) -> Tensor | None:
        """What is kept of inputs for the eye."""
        kind = self._kind = self._kind or known_kind(inputs, self._display.kind)
        if kind is None:
            why = f"they are {describe_inputs(inputs)}. Pass inputs_fn or kind"
            self._undrawn = self._undrawn or f"inputs are not shown: {why}"
        elif len(inputs) != samples:
            self._undrawn = self._undrawn or f"inputs are not shown: there are {len(inputs)} for {samples} targets"
        if self._undrawn or kind is None:
            return None
        kept = thumbnails(inputs, channel_dim(inputs.shape, kind)) if kind in ("image", "spectrogram") else inputs
        if self._shape is None:
            self._shape = kept.shape[1:]
        if kept.shape[1:] != self._shape:
            self._undrawn = "inputs of several shapes are not shown"
        elif kept[:1].numel() > LARGEST * 4:
            self._undrawn = f"inputs of {kept[:1].numel():,} numbers are too large to be shown"
        return None if self._undrawn else kept

    def report(self, names: tuple[str, ...], trainer: Trainer, confused: Sequence[ConfusedPair]) -> HardReport:
        """What all ranks kept, with names; every rank calls it, and has the same."""
        self._join(trainer, {(names.index(pair.actual), names.index(pair.predicted)) for pair in confused})
        found = self._taken()
        groups = tuple(self._group(rule, title, found[rule], names) for rule, title in self._rules.items())
        cells = tuple(self._cells(found.get(PAIRS, {}), names, confused))
        labels = tuple(map(str, self._display.names or ()))
        colors = self._colors if self._kind == "image" else ""
        classes = names if self._masks else ()
        return HardReport(groups, cells, self._kind, labels, self._samples, self._undrawn, colors, classes)

    def _join(self, trainer: Trainer, pairs: Set[tuple[int, int]]) -> None:
        """Offer what every rank kept to the first that sees it, in the order of ranks; of confused pairs, of these."""
        self._colors = self._display.colors
        if trainer.world_size == 1:
            return
        mine = self._taken()
        if mine.get(PAIRS):
            of_pairs = torch.tensor([pair in pairs for pair in _pairs(mine[PAIRS])], dtype=torch.bool)
            mine[PAIRS] = {name: column[of_pairs] for name, column in mine[PAIRS].items()}
        everywhere: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(
            everywhere, (mine, self._samples, self._undrawn, self._kind, self._by_pair, self._colors)
        )
        every = [columns for kept, *_ in everywhere for columns in kept.values() if columns]
        shapes = {name: {c[name].shape[1:] if name in c else None for c in every} for name in SHAPED}
        several_shapes = {name for name, found in shapes.items() if len(found) > 1 or None in found}
        shown = "inputs" not in several_shapes
        for kept, *_ in everywhere:
            for rule, columns in kept.items():
                if columns:
                    value, place, group = (columns.pop(name) for name in ("value", "place", "group"))
                    given = {name: column for name, column in columns.items() if name not in several_shapes}
                    known = bool((place != UNKNOWN).all())
                    self._kept[rule].offer(value, place if known else None, given, group)
        self._samples = sum(samples for _, samples, *_ in everywhere)
        several = "" if shown or not every else "inputs of several shapes are not shown"
        self._undrawn = next((undrawn for _, _, undrawn, *_ in everywhere if undrawn), several)
        self._kind = next((kind for _, _, _, kind, *_ in everywhere if kind), None)
        self._by_pair = all(by_pair for *_, by_pair, _ in everywhere)
        self._colors = next((colors for *_, colors in everywhere if colors), "")

    def _group(self, name: str, title: str, columns: dict[str, Tensor], names: tuple[str, ...]) -> HardGroup:
        if not columns:
            return HardGroup(name, title, ())
        inputs, kind = columns.get("inputs"), self._kind
        words = self._display.words_of(inputs) if inputs is not None and kind == "tokens" else None
        shown = None if inputs is None or kind is None or kind == "tokens" else self._display.shown(inputs, kind)
        facts = zip(columns["place"].tolist(), self._captions(columns, names), columns["loss"].tolist(), strict=True)
        examples = [
            HardExample(
                None if place == UNKNOWN else place, *caption, loss,
                None if words is None else " ".join(word for word in words[row] if word),
            )
            for row, (place, caption, loss) in enumerate(facts)
        ]  # fmt: skip
        return HardGroup(name, title, tuple(examples), shown, columns.get(TRUTH), columns.get(SAID))

    def _cells(
        self, columns: dict[str, Tensor], names: tuple[str, ...], confused: Sequence[ConfusedPair]
    ) -> Iterator[HardGroup]:
        """The confused pairs, with the samples that were kept of each, if any."""
        classes = [(names[a], names[p]) for a, p in _pairs(columns)] if columns else []
        for number, pair in enumerate(confused if self._by_pair else (), start=1):
            rows = [row for row, found in enumerate(classes) if found == (pair.actual, pair.predicted)]
            times = "once" if pair.count == 1 else f"{pair.count} times"
            chosen = {name: column[rows] for name, column in columns.items()} if rows else {}
            title = f"{pair.actual} taken for {pair.predicted}, {times}{'' if rows else NOTHING_KEPT}"
            yield self._group(f"pair_{number:02d}", title, chosen, names)


def _pairs(columns: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """Actual and predicted class of each row."""
    return list(zip(columns["actual"][:, 0].tolist(), columns["predicted"][:, 0].tolist(), strict=True))
