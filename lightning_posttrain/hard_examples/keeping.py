"""What is kept of a loader's epoch for ``HardExamples``, and how ranks join it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_posttrain.classification import ConfusedPair
from lightning_posttrain.core.capture.target_and_inputs import describe_inputs
from lightning_posttrain.core.stream.gathered import Gathered
from lightning_posttrain.core.stream.packed_columns import Layout, packed, unpacked
from lightning_posttrain.core.stream.ranks import told_by_all
from lightning_posttrain.core.stream.reading import PAIRS, SAID, TRUTH, Batch, Caption
from lightning_posttrain.core.stream.top_k import UNKNOWN, Hardest, thumbnails
from lightning_posttrain.core.stream.top_k_ranks import Offer, hardest_of_all, shapes_that_differ
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
        found = self._joined(trainer, {(names.index(pair.actual), names.index(pair.predicted)) for pair in confused})
        groups = tuple(self._group(rule, title, found[rule], names) for rule, title in self._rules.items())
        cells = tuple(self._cells(found.get(PAIRS, {}), names, confused))
        labels = tuple(map(str, self._display.names or ()))
        colors = self._colors if self._kind == "image" else ""
        classes = names if self._masks else ()
        return HardReport(groups, cells, self._kind, labels, self._samples, self._undrawn, colors, classes)

    def _joined(self, trainer: Trainer, pairs: Set[tuple[int, int]]) -> dict[str, dict[str, Tensor]]:
        """What is kept of the rows of all ranks, by rule; of confused pairs, of these."""
        self._colors = self._display.colors
        mine = self._taken()
        if trainer.world_size == 1:
            return mine
        if mine.get(PAIRS):
            of_pairs = torch.tensor([pair in pairs for pair in _pairs(mine[PAIRS])], dtype=torch.bool)
            mine[PAIRS] = {name: column[of_pairs] for name, column in mine[PAIRS].items()}
        about = (self._samples, self._undrawn, self._kind, self._by_pair, self._colors)
        told = told_by_all(trainer, (about, {rule: Offer.of(columns) for rule, columns in mine.items()}))
        offers = [of_rank for _, of_rank in told]
        several_shapes = shapes_that_differ(offers, SHAPED)
        shown = "inputs" not in several_shapes or not any(any(of_rank.values()) for of_rank in offers)
        several = "" if shown else "inputs of several shapes are not shown"
        samples, undrawn, kinds, by_pair, colors = zip(*(about for about, _ in told), strict=True)
        self._samples = sum(samples)
        self._undrawn = next(filter(None, undrawn), several)
        self._kind = next(filter(None, kinds), None)
        self._by_pair = all(by_pair)
        self._colors = next(filter(None, colors), "")
        return hardest_of_all(trainer, self._kept, mine, offers, without=several_shapes)

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
