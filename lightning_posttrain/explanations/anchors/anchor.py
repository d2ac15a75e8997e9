"""Anchors of samples of any kind (Ribeiro, Singh and Guestrin, 2018, doi:10.1609/aaai.v32i1.11491)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.explanations.anchors.row_rules import anchor_of_rows
from lightning_posttrain.explanations.anchors.segment_rules import anchor_of_parts
from lightning_posttrain.explanations.perturbation.arguments import game_of, positions
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward
from lightning_posttrain.explanations.perturbation.perturbation_pool import draw_pool
from lightning_posttrain.explanations.perturbation.segments import Parts
from lightning_posttrain.explanations.result.rule import Rule


def anchor(  # noqa: PLR0913 - all but three by keyword
    forward: Forward,
    inputs: Tensor,
    background: Tensor,
    *,
    parts: Tensor | Parts | None = None,
    predicted: Tensor | None = None,
    threshold: float = 0.95,
    tolerance: float = 0.05,
    confidence: float = 0.95,
    names: Sequence[str] = (),
    bins: int | None = None,
    categorical: Sequence[int | str] = (),
    scale: tuple[Tensor, Tensor] | None = None,
    exact: bool = False,
    max_size: int = 6,
    beam: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    chunk: int | Chunks = 4096,
) -> tuple[Rule, ...]:
    """For each sample a rule under which the model keeps its class: IF these conditions hold THEN that class.

    With ``parts``, of images and the like, the conditions are parts that are not hidden, see ``anchor_of_parts``.
    Without, inputs are rows of a table, and conditions are ranges of columns, see ``anchor_of_rows``. A rule that is
    not sure enough is returned with ``valid`` False.

    Args:
        forward: from rows ``(n, ...)`` to outputs of classes ``(n, C)``; in eval mode.
        inputs: the samples ``(K, ...)``.
        background: what hidden parts are replaced by ``(B, ...)``, with a mean over ``B``, or as ``hidden_of`` gives it
            ``(K, B, ...)``; or rows of a table ``(N, F)`` that rules are to hold for.
        parts: the part that each value belongs to, whole numbers from 0: ``(K, ...)`` or ``(1, ...)``, as of ``Game``;
            or what ``parts_of`` gives, with names.
        predicted: of a table, the class that the model gives for each row of ``background`` ``(N,)``; else it is asked.
        threshold: wanted precision.
        tolerance: how much less it may be in truth.
        confidence: how sure that has to be, for each rule.
        names: of the columns or parts.
        bins: of a table, columns are cut into so many parts of as many rows. Default: 8, or 4 where ``exact``.
        categorical: columns whose values have no order, by position or by name.
        scale: mean and standard deviation of each column, that undo a normalization where cuts are written.
        exact: search by the paper's KL-LUCB: many forwards.
        max_size: conditions at most.
        beam: rules of a size that grow. Default: 10, or 4 where ``exact``.
        samples: of parts, masks that all rules share, by default 2,048; of a table, rows drawn for the search, by
            default 1,024, 0 for none.
        seed: of random numbers, from a generator of its own.
        chunk: rows at a time; or also how long.

    Raises:
        ValueError: shapes do not go together, an output is NaN, or an argument is out of its range.
        OutOfTimeError: the time of ``chunk`` is over; of a table, before a rule was found.

    Example:
        >>> import torch
        >>> picture = torch.ones(1, 1, 2, 2)
        >>> corners = torch.arange(4).view(1, 1, 2, 2)
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0], 1 - x[:, 0, 0, 0]], 1)
        >>> print(*anchor(model, picture, torch.zeros(1, 1, 2, 2), parts=corners))
        part 0
    """
    if parts is None:
        return anchor_of_rows(
            forward, inputs, background, predicted=predicted, threshold=threshold, tolerance=tolerance,
            confidence=confidence, bins=bins, categorical=positions(categorical, names), names=names, scale=scale,
            exact=exact, max_size=max_size, beam=beam, samples=1024 if samples is None else samples, seed=seed,
            chunk=chunk,
        )  # fmt: skip
    chunks = chunk if isinstance(chunk, Chunks) else Chunks(chunk)
    game = game_of(forward, inputs, background, parts, chunks=chunks)
    known = [names] if names else parts.names if isinstance(parts, Parts) else ()
    pool = draw_pool(game, 2048 if samples is None else samples, seed)
    return anchor_of_parts(
        game, pool, names=known, threshold=threshold, tolerance=tolerance, confidence=confidence, exact=exact,
        max_size=max_size, beam=beam, seed=seed,
    )  # fmt: skip
