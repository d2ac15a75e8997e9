"""How hard the samples of a batch are for a classifier, and what stands below their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification.rows import LOSS
from lightning_posttrain.core.output.labels import labels_there
from lightning_posttrain.core.stream.reading import PAIRS, SAID, TRUTH, Caption, Hardness
from lightning_posttrain.core.stream.top_k import LARGEST_SIDE, UNKNOWN

if TYPE_CHECKING:
    from lightning_posttrain.classification.batch import EvalBatch


class ClassHardness(NamedTuple):
    """How hard samples are, each ``(N,)``, and what they are and were taken for ``(N, W)``.

    Args:
        loss: log loss; the mean over labels or positions.
        probability: of what was predicted; of labels that of the surest wrong one, else of the least sure; the mean
            over positions.
        wrong: share of the labels or positions that are wrong.
        counted: False for samples that enter no figure.
        actual: class, or 0 or 1 of each label; ``W`` is 0 for positions of an image.
        predicted: likewise.
    """

    loss: Tensor
    probability: Tensor
    wrong: Tensor
    counted: Tensor
    actual: Tensor
    predicted: Tensor


def hardness(batch: EvalBatch) -> ClassHardness:
    """How hard each sample of a batch is, without a synchronisation.

    Example:
        >>> from lightning_posttrain.classification.batch import EvalBatch
        >>> found = hardness(EvalBatch(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([1, 0])))
        >>> found.wrong.tolist(), found.loss.float()
        ([1.0, 0.0], tensor([0.6931, 0.0486]))
    """
    rows = batch.rows(LOSS)
    samples = len(batch.target) if batch.samples is None else batch.samples

    def per(values: Tensor) -> Tensor:
        return values.view(samples, -1) if samples else values.view(0, 1)

    counted = per(rows.counted)
    each_alone = batch.samples is None and not batch.multilabel
    number = None if each_alone else counted.sum(1).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        known = torch.where(counted, per(values), 0.0)
        return known[:, 0] if number is None else known.sum(1) / number

    loss, wrong = mean(rows.log_loss), mean((~rows.right).to(rows.log_loss.dtype))
    sure = mean(rows.confidence)
    if batch.samples is not None:
        nothing = rows["target"].new_zeros(samples, 0)
        return ClassHardness(loss, sure, wrong, counted.any(1), nothing, nothing)
    if batch.multilabel:
        each, errors = per(rows.confidence), counted & ~per(rows.right)
        worst = torch.where(errors, each, -torch.inf).amax(1)
        sure = torch.where(errors.any(1), worst, torch.where(counted, each, torch.inf).amin(1))
    actual, predicted = (torch.where(counted, per(rows[name]), UNKNOWN) for name in ("target", "predicted"))
    counts = counted[:, 0] if each_alone else counted.any(1)
    return ClassHardness(loss, sure, wrong, counts, actual, predicted)


def ranked(batch: EvalBatch) -> Hardness:
    """How hard each sample is, by loss, among errors, among hits, and among those of one pair of classes."""
    found = hardness(batch)
    wrong, never = found.wrong > 0, torch.full_like(found.probability, -torch.inf)
    rules = {
        "confident_errors": torch.where(wrong, found.probability, never),
        "unsure_hits": torch.where(wrong, never, -found.probability),
    }
    if batch.disagreement is not None and len(batch.disagreement) == len(found.loss):
        rules["disagreement"] = batch.disagreement.to(found.loss)
    columns = {name: column for name, column in found._asdict().items() if name != "counted"}
    if batch.multilabel or batch.samples is not None:
        shown = masks(batch) if len(batch.sides) == 2 and not batch.multilabel else {}
        return Hardness(found.loss, found.counted, rules, {**columns, **shown})
    classes = batch.num_classes
    cell = found.actual[:, 0].clamp(0, classes - 1) * classes + found.predicted[:, 0]
    rules[PAIRS] = torch.where(wrong, found.loss, never)
    return Hardness(found.loss, found.counted, rules, columns, cell)


def masks(batch: EvalBatch) -> dict[str, Tensor]:
    """Actual and predicted class of each position ``(S, h, w)`` int16, -1 where none counts, small as thumbnails are.

    Where an image is larger than ``LARGEST_SIDE``, each is of the position in the middle of a block.
    """
    rows = batch.rows(LOSS)
    factor = -(-max(batch.sides) // LARGEST_SIDE)
    found = {}
    for name, column in ((TRUTH, rows["target"]), (SAID, rows["predicted"])):
        whole = torch.where(rows.counted, column, -1).view(-1, *batch.sides)
        blocks = [side // factor * factor for side in batch.sides]
        found[name] = whole[:, factor // 2 : blocks[0] : factor, factor // 2 : blocks[1] : factor].to(torch.int16)
    return found


def captions(columns: Mapping[str, Tensor], names: Sequence[str], *, labels: bool) -> list[Caption]:
    """Names of the classes or the labels; of positions the share that is wrong."""
    parts = (columns[name].tolist() for name in ("actual", "predicted", "wrong", "probability"))
    return [
        Caption(*_said(actual, predicted, wrong, names, labels=labels), sure)
        for actual, predicted, wrong, sure in zip(*parts, strict=True)
    ]


def _said(
    actual: list[int], predicted: list[int], wrong: float, names: Sequence[str], *, labels: bool
) -> tuple[str, str]:
    if not actual:
        return "", f"{wrong:.1%} of positions wrong" if wrong else ""
    if not labels:
        return names[actual[0]], names[predicted[0]]
    return labels_there(actual, names), labels_there(predicted, names)
