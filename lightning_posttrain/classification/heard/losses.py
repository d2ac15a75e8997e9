"""What losses say of the predictions and targets that they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_posttrain.classification.heard.scores import HeardScores, NoClasses, in_words, unsquashed
from lightning_posttrain.classification.tasks import ScoreKind, Task
from lightning_posttrain.core.capture.batch_parts import PartSource, Path, is_one_hot, locate, said
from lightning_posttrain.core.capture.hearing_mode import OF_VALUES
from lightning_posttrain.core.capture.witness import Pair


def _exclusive(pair: Pair, parts: Mapping[Path, Tensor]) -> HeardScores | NoClasses | None:
    """Of ``cross_entropy`` and its like: classes that exclude each other."""
    prediction, target = _with_rows(pair.prediction, pair.target)
    source = locate(pair.target, parts)
    if target.is_floating_point():
        if target.shape != prediction.shape or not is_one_hot(target):
            reason = f"{in_words(pair)}, which are shares of classes, as of a mixup or a distillation, not classes"
            return NoClasses(f"{reason}, and shares cannot be counted", shares=True)
        # the classes themselves, which a part of the batch may hold as they are
        source = source or locate(target.argmax(1), parts)
    elif source is None and (_is_numbering(target) or 0 <= len(prediction) - prediction.shape[1] <= 1):
        return NoClasses(f"{in_words(pair)} that numbers the rows, as a contrastive loss does", values=True)
    return HeardScores(pair, "multiclass", "logits", prediction, target, source, ignore_index=_ignored(pair, target))


def _with_rows(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A pair of one row, given without a dimension of rows, with one."""
    return (prediction[None], target[None]) if prediction.ndim == 1 else (prediction, target)


def _is_numbering(target: Tensor) -> bool:
    """Whether a target is 0, 1, 2, … ."""
    return target.ndim == 1 and len(target) > 1 and bool((target == torch.arange(len(target)).to(target)).all())


USUAL = -100
"""``ignore_index`` of torch's losses where none is said."""


def _ignored(pair: Pair, target: Tensor) -> int | None:
    """The target that is left out, where it is not the usual one of which there is none."""
    index = pair.options.get("ignore_index", USUAL)
    told = isinstance(index, int) and (index != USUAL or bool((target == index).any()))
    return index if told else None


def _labels(scores: ScoreKind) -> Callable[[Pair, Mapping[Path, Tensor]], HeardScores | None]:
    """Of a binary cross-entropy: one decision, or several labels."""

    def read(pair: Pair, parts: Mapping[Path, Tensor]) -> HeardScores | None:
        if pair.prediction.shape != pair.target.shape or not pair.prediction.is_floating_point():
            return None
        source = locate(pair.target, parts)
        prediction, kind, depth = (pair.prediction, scores, 0) if scores == "logits" else unsquashed(pair, scores)
        kind = kind or scores
        task = binary_or_labels(pair.target, source, parts)
        if source is not None and source.form == "one-hot" and parts[source.path].numel() == len(pair.target):
            # one class a row in the batch: labels that exclude each other
            return HeardScores(pair, "multiclass", kind, prediction, pair.target, source, depth=depth)
        return HeardScores(pair, task, kind, prediction, pair.target, source, depth=depth)

    return read


def binary_or_labels(target: Tensor, source: PartSource | None, parts: Mapping[Path, Tensor]) -> Task:
    """Whether each row is one decision, or several labels, where both have the shape of the target."""
    shape = target.shape
    if target.ndim <= 1 or shape[1] == 1:
        return "binary"
    if target.ndim == 2:
        return "multilabel"
    part = None if source is None else parts[source.path]
    squeezed = part is not None and part.ndim == target.ndim + 1 and part.shape[1] == 1
    # a mask of the size of the images that it belongs to
    images = any(
        p.is_floating_point() and p.ndim == target.ndim + 1 and p.shape[2:] == shape[1:] for p in parts.values()
    )
    return "binary" if squeezed or images else "multilabel"


def values(pair: Pair, parts: Mapping[Path, Tensor]) -> NoClasses | None:
    """Of ``mse_loss`` and its like."""
    source = locate(pair.target, parts)
    if source is not None and source.form == "one-hot":
        return None  # class scores, of a kind that the loss does not tell
    what = "" if source is None else f", which is {said(source.path)}"
    return NoClasses(f"{in_words(pair)}{what}", values=source is not None)


def _other(pair: Pair, parts: Mapping[Path, Tensor]) -> NoClasses:  # noqa: ARG001 - as the others
    return NoClasses(in_words(pair), values=True)


LOSSES: dict[str, Callable[[Pair, Mapping[Path, Tensor]], HeardScores | NoClasses | None]] = {
    **dict.fromkeys(("cross_entropy", "nll_loss", "multi_margin_loss"), _exclusive),
    **dict.fromkeys(("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"), _labels("logits")),
    "binary_cross_entropy": _labels("probabilities"),
    **dict.fromkeys(OF_VALUES, values),
    **dict.fromkeys(
        (
            "ctc_loss",
            "triplet_margin_loss",
            "triplet_margin_with_distance_loss",
            "cosine_embedding_loss",
            "margin_ranking_loss",
            "hinge_embedding_loss",
        ),
        _other,
    ),
}
