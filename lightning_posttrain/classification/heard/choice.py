"""Which of the classifications that a step speaks of is meant, beside what the user said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_posttrain.classification.heard.arranged import arranged
from lightning_posttrain.classification.heard.heads import Head, Hearing, hear
from lightning_posttrain.classification.heard.scores import HeardScores
from lightning_posttrain.classification.score_keys import SAID_KEYS, named_parts
from lightning_posttrain.classification.tasks import count_classes, fits
from lightning_posttrain.core.capture.call_source import call_sources
from lightning_posttrain.core.capture.memory import shares_memory
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.stream.reading import Given

if TYPE_CHECKING:
    from lightning_posttrain.classification.reading import ClassReading


def hearing_of(step: Step) -> Hearing:
    """What a step says of classes, looked at once for all readings."""
    if "hearing" not in step.notes:
        step.notes["hearing"] = hear(step)
    found: Hearing = step.notes["hearing"]
    return found


def meant(step: Step, given: Given, reading: ClassReading) -> tuple[Head, ...]:
    """The heads that a reading is of, after what was said; none where others know better.

    Raises:
        ValueError: what was said contradicts what was heard.
    """
    if reading.scores_fn is not None or step.pairs is None:
        return ()
    if hearing_of(step).in_turn and reading.target is None and reading.target_fn is None:
        raise ValueError(
            f'{hearing_of(step).in_turn}. Return {{"logits": logits}} (N, C, T) from the step, with '
            "target_fn=lambda batch: ... , or pass target=... for one column."
        )
    heads = _of_target(hearing_of(step).heads, step, given, reading)
    if reading.num_classes is not None and heads:
        fitting = tuple(head for head in heads if _classes(head.heard) == reading.num_classes)
        if not fitting:
            raise ValueError(
                f"`num_classes` is {reading.num_classes}, but in the step {heads[0].heard.said}. Leave `num_classes` "
                "out, or pass scores_fn=lambda outputs, batch: ... for other scores."
            )
        heads = fitting
    said = returned(step, reading)
    if said is not None and heads:
        same = tuple(head for head in heads if shares_memory(said, head.heard.prediction))
        if same or given.problem is None:  # what stands under a key that says so comes first
            return same
    return heads


def _of_target(heads: Sequence[Head], step: Step, given: Given, reading: ClassReading) -> tuple[Head, ...]:
    """Those of the targets that were said."""
    if reading.target_fn is not None and isinstance(given.indices, Tensor):
        return tuple(_with(head, given) for head in heads if _is_for(head.heard, given, step))[:1]
    if reading.target is None:
        return tuple(heads)
    named = tuple(head for head in heads if head.name == reading.target)
    if not named and heads and given.problem is not None:
        names = " or ".join(repr(head.name) for head in heads)
        raise ValueError(f"`target` is {reading.target!r}, and the step's targets are {names}. Pass one of these.")
    return named


def _is_for(heard: HeardScores, given: Given, step: Step) -> bool:
    """Whether heard scores are for targets that the user gave: they were heard with these, or fit them."""
    part = None if heard.source is None else heard.source.of(step.parts)
    target = heard.target if part is None else part
    scores, indices = arranged(heard.prediction, target, heard.task, heard.source)
    if indices.shape == given.indices.shape and bool((indices == given.indices.to(indices.device)).all()):
        return True
    return fits(scores, given.indices.shape, heard.task)


def _with(head: Head, given: Given) -> Head:
    """A head whose target is the one that the user gave."""
    return replace(head, heard=replace(head.heard, target=given.indices, source=None, given=True))


def _classes(heard: HeardScores) -> int:
    scores, _ = arranged(heard.prediction, heard.target, heard.task, heard.source)
    return count_classes(scores, heard.task)


def returned(step: Step, reading: ClassReading) -> Tensor | None:
    """What the step returns under a key that says that it is the scores."""
    parts = {} if isinstance(step.outputs, Tensor) else named_parts(step.outputs)
    keys = SAID_KEYS[reading.scores] if "scores" not in reading.open else SAID_KEYS["logits"]
    found = (parts.get(key) for key in keys)
    return next((part for part in found if isinstance(part, Tensor)), None)


def chosen_head(step: Step, given: Given, reading: ClassReading) -> HeardScores | None:
    """The scores that a reading is of; None where the step does not say.

    Raises:
        ValueError: several are for one target, and nothing says which are meant.
    """
    heads = meant(step, given, reading)
    if not heads:
        return None
    head = heads[0]
    if not head.rivals:
        return head.heard
    rivals = (head.heard, *head.rivals)
    of = {_origin(one, step): one for one in rivals}
    if reading.scores_from is not None and reading.scores_from in of:
        return of[reading.scores_from]
    names = " and ".join(f"`{name}` {tuple(one.prediction.shape)}" for name, one in of.items())
    raise ValueError(
        f"the step gives scores of {names} to losses with the same target, and nothing says which are meant. Pass "
        f'scores_from={next(iter(of))!r}, or return {{"logits": logits}} from the step.'
    )


def _origin(heard: HeardScores, step: Step) -> str:
    """What gave heard scores, in the words of a message and of ``scores_from``."""
    sources = [source for source, _ in call_sources(heard.prediction.detach(), step.inside)]
    if not sources:
        return f"{heard.pair.by}[{heard.pair.number}]"
    last = sources[-1]
    call = f"[{last.number}]" if last.calls > 1 else ""
    return f"{last.module or 'forward'}{last.path}{call}"


def contradiction(reading: ClassReading, heard: HeardScores) -> str:
    """What was said against what was heard, with the cure; nothing where they agree."""
    if "task" not in reading.open and not _agree(reading.task, heard):
        return (
            f"`task` is {reading.task!r}, but in the step {heard.said}, which is task={heard.task!r}. Leave `task` "
            "out, or pass scores_fn=lambda outputs, batch: ... for other scores."
        )
    direct = heard.depth == 0 and heard.pair.kind == "loss"
    if "scores" not in reading.open and direct and reading.scores == "logits" and heard.scores == "probabilities":
        return f"`scores` is 'logits', but in the step {heard.said}, and takes probabilities. Leave `scores` out."
    said, found = reading.ignore_index, heard.ignore_index
    if "ignore_index" not in reading.open and found is not None and said not in (None, found):
        return (
            f"`ignore_index` is {said}, but in the step {heard.said} and leaves out {found}. Leave `ignore_index` out, "
            "or pass scores_fn=lambda outputs, batch: ... with target_fn for other rows."
        )
    return ""


def _agree(task: str, heard: HeardScores) -> bool:
    """Whether a task that was said goes with what was heard."""
    if task == heard.task:
        return True
    scores, _ = arranged(heard.prediction, heard.target, heard.task, heard.source)
    if task == "binary":  # two exclusive classes; positions of a sequence
        return heard.task == "multilabel" or scores.shape[1:2] == (2,)
    return task == "multilabel" and heard.task == "binary" and heard.prediction.ndim >= 2


def as_said(reading: ClassReading, heard: HeardScores) -> HeardScores:
    """What was heard, read as the user said."""
    task = heard.task if "task" in reading.open else reading.task
    said = "scores" not in reading.open and heard.depth == 0
    return replace(heard, task=task, scores=reading.scores if said else heard.scores)
