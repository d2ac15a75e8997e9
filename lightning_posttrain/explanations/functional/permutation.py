"""How much a model relies on each feature: its loss where the feature's values are those of other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lightning_posttrain.core.statistics.precision import LARGEST_LOSS
from lightning_posttrain.explanations.result.surrogate import Drop

NORMAL = 1.959963984540054
"""A standard normal variable lies within so much of 0 with probability 0.95."""


def permutation_importance(  # noqa: PLR0913 - each has a default that serves
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    target: Tensor,
    *,
    names: Sequence[str] = (),
    parts: Tensor | None = None,
    repeats: int = 10,
    seed: int = 0,
    chunk: int = 4096,
    over: Callable[[], bool] = lambda: False,
) -> tuple[Drop, ...]:
    r"""How much worse a model does where one feature's values come from other rows, the worst first.

    Permutation importance (Breiman, 2001, doi:10.1023/A:1010933404324) in the form of Fisher, Rudin and Dominici (2019,
    arXiv:1801.01489): the mean over pairs of a row and another that lends it its value. Of all :math:`N(N-1)` pairs,
    ``repeats`` for each row are drawn, in which each row lends as often as it borrows; with ``repeats`` of N - 1 or
    more it is the mean over all. Features that go along with each other share what they are worth: one alone may be
    replaced without much harm. Rows that mix values of two may be like none that the model has seen.

    The estimate is a U-statistic, so a row counts twice in its interval: as one that borrows and as one that lends.
    With :math:`a_i` the mean increase of the loss where row :math:`i` borrows and :math:`b_i` where it lends, the
    standard error is the deviation of :math:`a_i + b_i` over :math:`\sqrt N` (Hoeffding, 1948,
    doi:10.1214/aoms/1177730196). The spread over repeats alone would be far too narrow: it forgets that other rows
    would have given another result.

    Args:
        forward: from rows ``(n, ...)`` to logits ``(n, C)``, in eval mode; it is given copies.
        inputs: the rows ``(N, ...)``, on the model's device.
        target: class index ``(N,)``.
        names: of the ``F`` features.
        parts: the feature that each value of a row belongs to, whole numbers from 0, of the shape of a row;
            dimensions of size 1, as of channels, stand for all of them. Default: each value of a flat row.
        repeats: rows that lend to each.
        seed: of the draw, from a generator of its own.
        chunk: rows of a forward, at most.
        over: asked before each forward whether the time is over. Then the repeats that are done count, or, where there
            is none, the features that are done in the first.

    Raises:
        ValueError: an argument does not fit.

    Example:
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> drops = permutation_importance(lambda rows: rows * 4, x, x.argmax(1), names=["left", "right"])
        >>> drops[0].low > 1, len(drops)
        (True, 2)
    """
    parts = torch.arange(inputs.shape[-1]) if parts is None else parts
    _check(inputs, target, parts, repeats)
    count = int(parts.max()) + 1
    names = tuple(names) or tuple(f"feature {i}" for i in range(count))
    if len(names) != count:
        raise ValueError(f"`names` has {len(names)} names for {count} features. Pass one for each.")
    target = target.to(inputs.device)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
    lenders = _lenders(order, min(repeats, len(inputs) - 1))
    before, hit = _joined(_judged(forward, inputs, target, chunk), over)
    if len(before) < len(inputs):
        return ()
    loss, right = _whole(
        _joined(_replaced(forward, inputs, target, parts.to(inputs.device), lenders, chunk), over), count, len(inputs)
    )
    if not loss.numel():
        return ()
    rise = loss - before
    low, high, mean = _interval(rise, lenders[: loss.shape[1]])
    fall = (hit - right.mean(1)).mean(1)
    figures = torch.stack([mean, low, high, fall], 1).tolist()
    drops = [Drop(name, *values) for name, values in zip(names, figures, strict=False)]
    return tuple(sorted(drops, key=lambda drop: -drop.loss if drop.loss == drop.loss else torch.inf))


def _check(inputs: Tensor, target: Tensor, parts: Tensor, repeats: int) -> None:
    if len(inputs) < 2 or target.shape != inputs.shape[:1]:
        raise ValueError(
            f"`inputs` is {tuple(inputs.shape)} and `target` {tuple(target.shape)}, wanted two rows at least and a "
            "class index for each."
        )
    row = tuple(inputs.shape[1:])
    fits = parts.ndim == len(row) and all(a in (1, b) for a, b in zip(parts.shape, row, strict=True))
    if not fits or parts.is_floating_point() or int(parts.min()) < 0:
        raise ValueError(
            f"`parts` is {tuple(parts.shape)} {parts.dtype} for rows {row}, wanted whole numbers from 0 in the shape "
            "of a row. Pass pooled_features(inputs, kind).parts."
        )
    if repeats < 1:
        raise ValueError(f"`repeats` is {repeats}, wanted at least 1.")


def _lenders(order: Tensor, repeats: int) -> Tensor:
    """For each repeat and row, another row ``(R, N)``: none lends itself, and each lends once a repeat.

    Rows stand in a circle in random order, and borrow from the next, the one after it, and so on.
    """
    lenders = order.new_empty(repeats, len(order))
    lenders[:, order] = torch.stack([order.roll(-step) for step in range(1, repeats + 1)])
    return lenders


AT_ONCE = 1 << 20
"""Logits that are looked at in one pass."""
Judged = tuple[Tensor, Tensor]
"""Losses and hits ``(n,)`` of rows."""


def _replaced(
    forward: Callable[[Tensor], Tensor], inputs: Tensor, target: Tensor, parts: Tensor, lenders: Tensor, chunk: int
) -> Iterator[Judged]:
    """Of rows where one feature is another row's, in large batches: repeat by repeat all features ``(R, F, N)``."""
    count, rows = int(parts.max()) + 1, len(inputs)
    for numbers in torch.split(torch.arange(len(lenders) * count * rows, device=inputs.device), chunk):
        repeat, feature, row = numbers // (count * rows), numbers // rows % count, numbers % rows
        swapped = parts == feature.view(-1, *(1,) * parts.ndim)
        mixed = torch.where(swapped, inputs[lenders[repeat, row]], inputs[row])
        yield _of_rows(forward, mixed, target[row])


def _judged(forward: Callable[[Tensor], Tensor], inputs: Tensor, target: Tensor, chunk: int) -> Iterator[Judged]:
    """Of rows as they are."""
    for rows, wanted in zip(torch.split(inputs, chunk), torch.split(target, chunk), strict=True):
        yield _of_rows(forward, rows.clone(), wanted)


def _joined(found: Iterator[Judged], over: Callable[[], bool]) -> Judged:
    """All that is found before the time is over."""
    pieces = [(torch.zeros(0).double(), torch.zeros(0).double())]
    while not over() and (piece := next(found, None)) is not None:
        pieces.append(piece)
    losses, hits = zip(*pieces, strict=True)
    return torch.cat(losses), torch.cat(hits)


def _whole(found: Judged, features: int, rows: int) -> Judged:
    """Losses and hits of ``(F, R, N)`` as far as they came: whole repeats, or the features of the first."""
    done = len(found[0]) // rows
    repeats, features = max(1, done // features), min(done, features)
    loss, hit = (part[: repeats * features * rows].view(repeats, features, rows).transpose(0, 1) for part in found)
    return loss, hit


def _of_rows(forward: Callable[[Tensor], Tensor], rows: Tensor, target: Tensor) -> Judged:
    with torch.no_grad():
        logits = forward(rows)
    if logits.ndim != 2 or len(logits) != len(rows) or logits.shape[1] <= int(target.max()):
        raise ValueError(
            f"`forward` gives {tuple(logits.shape)} for {len(rows)} rows, wanted logits with a column for each class. "
            "Wrap it, as forward=lambda x: model(x).logits."
        )
    room = max(1, AT_ONCE // logits.shape[1])
    pieces = zip(torch.split(logits.detach(), room), torch.split(target, room), strict=True)
    losses, hits = zip(*(_losses(part, wanted) for part, wanted in pieces), strict=True)
    return torch.cat(losses).clamp(max=LARGEST_LOSS), torch.cat(hits)


def _losses(logits: Tensor, target: Tensor) -> Judged:
    """Log losses and hits, float64: of what is summed, the precision of the logits is enough."""
    logits, target = logits.cpu(), target.cpu()
    top, predicted = logits.max(1)
    total = (logits - top[:, None]).exp_().sum(1, dtype=torch.float64)
    own = logits.gather(1, target[:, None])[:, 0]
    return total.log() + top.double() - own.double(), (predicted == target).double()


def _interval(rise: Tensor, lenders: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper end and mean, each ``(F,)``, of what the loss rises by ``(F, R, N)``."""
    borrowed = rise.mean(1)
    lent = torch.zeros_like(borrowed)
    for step, lender in enumerate(lenders.cpu()):
        lent[:, lender] += rise[:, step] / len(lenders)
    mean = borrowed.mean(1)
    error = (borrowed + lent).std(1) / borrowed.shape[1] ** 0.5
    return mean - NORMAL * error, mean + NORMAL * error, mean
