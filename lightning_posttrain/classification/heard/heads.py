"""The classifications that a step speaks of: one for each part of the batch that is a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.classification.heard.arranged import arranged
from lightning_posttrain.classification.heard.losses import LOSSES
from lightning_posttrain.classification.heard.metrics import of_metric
from lightning_posttrain.classification.heard.scores import HeardScores, NoClasses, in_words
from lightning_posttrain.classification.score_keys import named_parts
from lightning_posttrain.classification.tasks import fits
from lightning_posttrain.core.capture.batch_parts import Path, name_of
from lightning_posttrain.core.capture.call_source import call_sources
from lightning_posttrain.core.capture.memory import is_of, shares_memory
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.witness import Pair


@dataclass(frozen=True, eq=False)
class Head:
    """One target, and the scores that were given for it.

    Args:
        name: of the part of the batch that the target is.
        heard: the scores.
        rivals: other scores for the same target, where nothing says which are meant.
    """

    name: str
    heard: HeardScores
    rivals: tuple[HeardScores, ...] = ()


@dataclass(frozen=True, eq=False)
class Hearing:
    """What a step says of classes.

    Args:
        heads: one for each target.
        others: why other pairs speak of none.
        in_turn: that one module is asked for one position after the other, which is not read.
    """

    heads: tuple[Head, ...]
    others: tuple[NoClasses, ...] = ()
    in_turn: str = ""

    @property
    def shares(self) -> str:
        """That targets are shares of classes, where nothing else was heard."""
        return next((o.reason for o in self.others if o.shares), "") if not self.heads else ""

    @property
    def margin(self) -> str:
        """That the target went into the scores, where nothing else was heard."""
        return next((o.reason for o in self.others if o.told), "") if not self.heads else ""

    @property
    def refused(self) -> bool:
        """Whether what was heard is something else for certain."""
        return not self.heads and any(other.values for other in self.others)

    @property
    def reason(self) -> str:
        """Why there is no classification, where that was heard."""
        if self.heads or not self.others:
            return ""
        first = next((other for other in self.others if other.values), self.others[0])
        return first.reason


def hear(step: Step) -> Hearing:
    """What a step says of classes; values are read on the host."""
    with torch.no_grad():
        found = [meaning(pair, step.parts) for pair in step.pairs or ()]
        scores = [one for one in found if isinstance(one, HeardScores)]
        others = tuple(one for one in found if isinstance(one, NoClasses))
        groups: dict[Any, list[HeardScores]] = {}
        for one in scores:
            groups.setdefault(_target_of(one, groups), []).append(one)
        kept = _of_the_batch([group for group in groups.values() if not _is_a_piece(group, groups)])
        return Hearing(tuple(_named(step, kept)), others, _in_turn(kept, step))


def meaning(pair: Pair, parts: Mapping[Path, Tensor]) -> HeardScores | NoClasses | None:
    """What a pair says of classes; None for what says nothing, as a distillation."""
    if not isinstance(pair.prediction, Tensor) or not isinstance(pair.target, Tensor):
        lists = isinstance(pair.prediction, (list, tuple)) or isinstance(pair.target, (list, tuple))
        return NoClasses(in_words(pair)) if lists else None
    known = pair.kind == "loss" and not pair.module
    read = LOSSES.get(pair.by) if known else of_metric
    found = None if read is None else read(pair, parts)
    if not isinstance(found, HeardScores):
        return found
    if not _readable(found):
        return None
    if found.source is None:
        return found if pair.kind != "comparison" else None
    if found.source.path in pair.told:
        return NoClasses(f"{in_words(pair)}, which the scores were made with, as by a margin", told=True)
    return found


def _readable(heard: HeardScores) -> bool:
    """Whether scores and targets go together, as those of a metric with an arrangement of its own may not."""
    try:
        scores, indices = arranged(heard.prediction, heard.target, heard.task, heard.source)
    except (RuntimeError, IndexError):
        return False
    return fits(scores, indices.shape, heard.task)


def _of_the_batch(groups: list[list[HeardScores]]) -> list[list[HeardScores]]:
    """Without targets that are no part of the batch, as a teacher's, or are made of one, where others are."""
    sources = [group[0].source for group in groups]
    whole = {source.path for source in sources if source is not None and source.form in ("same", "one-hot")}
    plain = {source.path for source in sources if source is not None and source.form != "derived"}
    left_out = {"column": whole, "derived": plain}

    def kept(*forms: str) -> list[list[HeardScores]]:
        pairs = zip(groups, sources, strict=True)
        return [g for g, s in pairs if s is not None and s.form in forms and s.path not in left_out.get(s.form, ())]

    return [*kept("same", "one-hot", "column", "rows"), *kept("derived")] or groups


def _is_a_piece(group: list[HeardScores], groups: Mapping[Any, list[HeardScores]]) -> bool:
    """Whether a target is one of several stretches of one part, as where a batch is taken in halves."""
    source = group[0].source
    if source is None or source.form != "rows" or source.rows is not None:
        return False
    others = (other[0].source for other in groups.values() if other is not group)
    return any(o is not None and (o.path, o.form, o.rows) == (source.path, "rows", None) for o in others)


def _in_turn(groups: Sequence[Sequence[HeardScores]], step: Step) -> str:
    """That columns of one part are predicted by one module, called once for each; nothing where it is not so."""
    columns = [group[0] for group in groups if group[0].source is not None and group[0].source.form == "column"]
    sources = [next((s for s, _ in call_sources(one.prediction, step.inside)), None) for one in columns]
    places = [(s.module, s.path) for s in sources if s is not None]
    if len(places) < 2 or len(set(places)) > 1:
        return ""
    return f"`{places[0][0] or 'forward'}` is asked for the columns of one target in turn, each with {columns[0].said}"


def _target_of(heard: HeardScores, groups: Iterable[Any]) -> Any:
    """What tells targets apart: the part of the batch, else the numbers themselves."""
    if heard.source is not None:
        source = heard.source
        return source.path, source.rows, source.at, source.form == "derived"
    alike = (key for key in groups if isinstance(key, _Same) and key.holds(heard.target))
    return next(alike, _Same(heard.target))


@dataclass(frozen=True, eq=False)
class _Same:
    """A target that is no part of the batch."""

    target: Tensor

    def holds(self, other: Tensor) -> bool:
        return self.target.numel() == other.numel() and bool((self.target.reshape(-1) == other.reshape(-1)).all())


def _named(step: Step, groups: Iterable[Sequence[HeardScores]]) -> Iterable[Head]:
    listed = list(groups)
    paths = [_path(group[0], i) for i, group in enumerate(listed)]
    names = [name_of(path) for path in paths]
    for name, path, group in zip(names, paths, listed, strict=True):
        yield _head(step, name if names.count(name) == 1 else "_".join(map(str, path)), group)


def _path(heard: HeardScores, number: int) -> Path:
    """What a target is named by."""
    source = heard.source
    if source is None:
        return (number,)
    return (*source.path, source.at) if source.form == "column" else source.path


def _head(step: Step, name: str, group: Sequence[HeardScores]) -> Head:
    losses, metrics, compared = ([o for o in group if o.pair.kind == k] for k in ("loss", "metric", "comparison"))
    losses.sort(key=lambda one: one.pair.module)  # torch's own losses say what they take
    differing: list[HeardScores] = []
    for one in losses or metrics or compared:
        if not any(_same_prediction(one, other) for other in differing):
            differing.append(one)
    if len(differing) > 1:
        chosen = _by_metric(differing, metrics) or _by_return(differing, step) or _by_forward(differing, step)
        return Head(name, chosen) if chosen else Head(name, differing[0], tuple(differing[1:]))
    return Head(name, differing[0])


def _same_prediction(a: HeardScores, b: HeardScores) -> bool:
    same_count = a.prediction.numel() == b.prediction.numel()
    return is_of(a.prediction, b.prediction) or (
        same_count and torch.equal(a.prediction.reshape(-1), b.prediction.reshape(-1))
    )


def _by_metric(rivals: Sequence[HeardScores], metrics: Sequence[HeardScores]) -> HeardScores | None:
    """That which a metric takes too."""
    return next((one for one in rivals if any(_same_prediction(one, other) for other in metrics)), None)


def _by_return(rivals: Sequence[HeardScores], step: Step) -> HeardScores | None:
    """That which the step returns."""
    parts = {"": step.outputs} if isinstance(step.outputs, Tensor) else named_parts(step.outputs)
    given = [part for part in parts.values() if isinstance(part, Tensor) and part.numel() > 1]
    alike = [one for one in rivals if any(shares_memory(one.prediction, part) for part in given)]
    return alike[0] if len(alike) == 1 else None


def _by_forward(rivals: Sequence[HeardScores], step: Step) -> HeardScores | None:
    """That which is all that the outermost call of a module gave."""
    calls = [firing for firing in step.called if isinstance(firing.output, Tensor)]
    whole = [one for one in rivals if any(True for _ in call_sources(one.prediction, calls))]
    return whole[0] if len(whole) == 1 else None
