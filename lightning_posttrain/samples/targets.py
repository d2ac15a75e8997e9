"""What of a model's output is explained, as one number for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.attribution import Score
from lightning_posttrain.core.capture.sending import sent
from lightning_posttrain.core.output.labels import NO_LABEL, labels_there
from lightning_posttrain.samples.reservoir import Chosen
from lightning_posttrain.samples.result import Sample

Explain = Literal["predicted", "true", "both", "contrast"]
EXPLAINED: tuple[Explain, ...] = ("predicted", "true", "both", "contrast")
Output = Callable[[Any, Tensor], Tensor]
"""From the model's output and its inputs ``(n, ...)`` to one number a row ``(n,)``."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The explained function of each row of a picture, and what is said of it.

    Args:
        score: rows and the numbers of ``rows`` they belong to, to values.
        rows: which of the chosen samples each stands for; a sample may be explained twice.
        samples: what is known of each.
    """

    score: Score
    rows: Tensor
    samples: tuple[Sample, ...]


def of_classes(
    scorer: Callable[..., Tensor], chosen: Chosen, inputs: Tensor, how: Explain, names: Sequence[str]
) -> Targets:
    """Explain the logit of a class, or how much higher it is than that of another one.

    Of a network with one logit for two classes that is the logit itself for class 1, and minus it for class 0.

    Args:
        scorer: from inputs, and the samples that they are copies of, to logits ``(n, C)``, for a multilabel task the
            log-odds of each label.
        chosen: the samples.
        inputs: theirs, where and as the model takes them ``(K, ...)``.
        how: ``"predicted"``, ``"true"``, ``"both"``, or ``"contrast"``: the predicted class against the actual one,
            where that is the same against the second.
        names: of the classes.
    """
    with torch.no_grad():
        logits = scorer(inputs.clone()).detach().float().cpu()
    asked = questions(logits, chosen, how, names)
    classes = torch.tensor([question.explained for question in asked])
    rivals = torch.tensor([_against(question.explained, question.rival, chosen) for question in asked])
    rows, samples = torch.tensor([question.row for question in asked]), tuple(question.sample for question in asked)
    return Targets(_logits(scorer, classes, rivals, rows, inputs.device), rows, samples)


class Question(NamedTuple):
    """Why a sample gets the class ``explained``, rather than ``rival`` if there is one; ``row`` is its number."""

    row: int
    explained: int
    rival: int | None
    sample: Sample


def questions(logits: Tensor, chosen: Chosen, how: Explain, names: Sequence[str]) -> list[Question]:
    """What is asked about samples with these logits ``(K, C)``, and what is known of them; ``how`` is as above."""
    assert chosen.target is not None
    labels = chosen.target.ndim == 2
    values, chances = logits.tolist(), (logits.sigmoid() if labels else logits.softmax(1)).tolist()
    order = logits.nan_to_num(-torch.inf).sort(dim=1, descending=True, stable=True).indices
    asked = []
    for row, (ranked, target) in enumerate(zip(order.tolist(), chosen.target.tolist(), strict=True)):
        for class_, rival in _explained(ranked, target, how):
            against = "" if rival is None else f" rather than {names[rival]}"
            actual, predicted = _said(target, logits[row], ranked[0], names)
            other = _against(class_, rival, chosen)
            value = values[row][class_] - (0.0 if other < 0 else values[row][other])
            nothing = labels and predicted == NO_LABEL
            probability = None if nothing else chances[row][ranked[0]]
            about = (chosen.index[row], f"{names[class_]}{against}", value, actual, predicted, probability)
            asked.append(Question(row, class_, rival, Sample(*about)))
    return asked


def _against(explained: int, rival: int | None, chosen: Chosen) -> int:
    """The class whose logit is taken off; -1 for none. Two that are halves of one logit differ by that logit."""
    if rival is None:
        return 1 - explained if chosen.single else -1
    return rival


def _explained(ranked: list[int], target: Any, how: Explain) -> list[tuple[int, int | None]]:
    """Classes to explain, each with the one that it is set against, or None."""
    top = ranked[0]
    actual = (target.index(1) if 1 in target else top) if isinstance(target, list) else target
    if how == "contrast":
        return [(top, actual if actual != top else ranked[1])]
    if how == "both":
        return [(top, None), *([(actual, None)] if actual != top else [])]
    return [(actual if how == "true" else top, None)]


def _said(target: Any, logits: Tensor, top: int, names: Sequence[str]) -> tuple[str, str]:
    if not isinstance(target, list):
        return names[target], names[top]
    return labels_there(target, names), labels_there((logits > 0).tolist(), names)


def _logits(scorer: Callable[..., Tensor], classes: Tensor, rivals: Tensor, of: Tensor, device: torch.device) -> Score:
    against = bool((rivals >= 0).any())
    # there once, and not at each forward
    classes, rivals, of = (sent(numbers, device) for numbers in (classes, rivals, of))

    def score(rows: Tensor, which: Tensor) -> Tensor:
        logits = scorer(rows, of[which])
        value = logits.gather(1, classes[which][:, None])[:, 0]
        if not against:
            return value
        rival = rivals[which]
        other = logits.gather(1, rival.clamp(min=0)[:, None])[:, 0]
        return value - other * (rival >= 0).to(other.dtype)

    return score


def of_output(model: Callable[[Tensor], Any], chosen: Chosen, inputs: Tensor, output: Output) -> Targets:
    """Explain any function of the model's output.

    Raises:
        ValueError: it does not give one number a row.
    """

    def score(rows: Tensor, which: Tensor) -> Tensor:  # noqa: ARG001 - the same function for every row
        before = rows.clone()  # the forward may change its input
        value = output(model(rows), before)
        if not isinstance(value, Tensor) or value.shape not in ((len(rows),), (len(rows), 1)):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"`explain` gives {shape} for {len(rows)} rows, wanted one number a row ({len(rows)},), as "
                "explain=lambda output, inputs: output[:, 0]."
            )
        return value.reshape(len(rows))

    count = len(inputs)
    with torch.no_grad():
        values = score(inputs.clone(), torch.arange(count, device=inputs.device))
    name = getattr(output, "__name__", "output")
    said = "output" if name == "<lambda>" else name.replace("_", " ")
    samples = [Sample(index, said, value) for index, value in zip(chosen.index, values.float().tolist(), strict=True)]
    return Targets(score, torch.arange(count), tuple(samples))
