"""Anchors of the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks, OutOfTimeError
from lightning_posttrain.explanations.anchors.bounds import Bar
from lightning_posttrain.explanations.anchors.predicates import Predicates, predicates_of
from lightning_posttrain.explanations.anchors.predicted_classes import Asked
from lightning_posttrain.explanations.anchors.row_search import RowRule, RowSearch
from lightning_posttrain.explanations.anchors.table import cuts_of
from lightning_posttrain.explanations.anchors.unseen import with_unseen
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward
from lightning_posttrain.explanations.result.rule import Rule


def anchor_of_rows(  # noqa: PLR0913 - all by keyword
    forward: Forward,
    inputs: Tensor,
    rows: Tensor,
    *,
    predicted: Tensor | None = None,
    threshold: float = 0.95,
    tolerance: float = 0.05,
    confidence: float = 0.95,
    bins: int | None = None,
    categorical: Sequence[int] = (),
    names: Sequence[str] = (),
    scale: tuple[Tensor, Tensor] | None = None,
    exact: bool = False,
    max_size: int = 6,
    beam: int | None = None,
    samples: int = 1024,
    seed: int = 0,
    chunk: int | Chunks = 4096,
) -> tuple[Rule, ...]:
    r"""For each of some rows of a table, a rule under which the model gives the class of that row.

    Read: where the conditions hold, the model gives the same class, in at least ``lower`` of the cases. Of the rules
    that are sure enough, it is the one that holds for the most rows
    (Ribeiro, Singh and Guestrin, 2018, doi:10.1609/aaai.v32i1.11491).

    By default rules come from ``rows`` as they are: ``precision``, ``coverage`` and ``base`` are shares of all of them,
    each as often as it comes. Rules are searched for on some of the rows and confirmed on the others, so that ``lower``
    is of rows that the search has not seen; the row that is explained does not confirm its own rule. With few rows
    there may be no rule that is sure enough: 29 without a miss have to confirm it.

    Equal rows are draws of their own where all columns are discrete: categorical, or with values that come on average
    as often as there are different ones, as 2 values in 4 rows, or 20 in 400. In other tables, as with a measurement,
    which hardly ever comes twice, they are copies of one draw. Those of one draw are searched on or confirm together,
    those of the row that is explained do neither, and ``lower`` is from the effective number of draws,
    :math:`(\sum m)^2 / \sum m^2` for draws that come :math:`m` times each (Kish, 1965, "Survey Sampling"; Korn and
    Graubard, 1998, Survey Methodology 24, 193-201).

    Where no rule is found for a row with a category that no other row has, the rule says so: it has this category as
    its condition, ``rows`` 0, ``coverage`` 0, and a precision of NaN. So it is for a value beyond all others, where no
    row of the best rule gets the class.

    The model is asked for ``samples`` further rows to search on, made of those of the search: each is one of them, with
    about half of its columns from others. A condition that adds nothing shows there, and they confirm nothing.

    Beside that, ``intervened`` says how often the class stays where the columns without a condition, and no others, are
    drawn anew. Where it is far lower, the conditions go together with something else that the model looks at.

    Of a sample's conditions only those 200 are combined which alone go along most with its class. Where the time of
    ``chunk`` is over, samples get the best rule found so far, which is that without conditions where there is none,
    with ``valid`` False, and ``intervened`` stays None where it was not asked.

    Args:
        forward: the model: rows ``(n, F)`` to outputs ``(n, C)``, the largest of which is the class.
        inputs: rows to explain ``(K, F)``.
        rows: rows like those that the rules are to hold for, as of the validation data ``(N, F)``; NaN is a missing
            value, which satisfies no condition. A row to explain may be among them.
        predicted: the class that the model gives for each of ``rows`` ``(N,)``; else it is asked.
        threshold: wanted precision.
        tolerance: how much less it may be in truth.
        confidence: how sure that has to be, for each rule.
        bins: columns are cut into so many parts of as many rows. Default: 8, or 4 where ``exact``.
        categorical: columns whose values have no order, so that conditions are of equality; others that are discrete
            need not be named.
        names: of the columns; else ``column 0`` and so on.
        scale: mean and standard deviation of each column, each ``(F,)``, that undo a normalization where cuts are
            written.
        exact: search by the paper's KL-LUCB, on rows drawn under intervention: many forwards.
        max_size: conditions at most; the two ends of an interval count as two.
        beam: rules of a size that grow. Default: 10, or 4 where ``exact``.
        samples: rows drawn for the search, once for all inputs, fewer where the time is short; 0 asks for none. Not
            where ``exact``.
        seed: of random numbers, from a generator of its own.
        chunk: rows at a time; or also how long.

    Raises:
        ValueError: shapes do not go together, an output is NaN, or an argument is out of its range.
        OutOfTimeError: the time was over before a rule was found.

    Example:
        >>> rows = torch.arange(1000.0)[:, None] % torch.tensor([1000, 7])
        >>> model = lambda x: torch.stack([499 - x[:, 0], x[:, 0] - 499], 1)
        >>> rule = anchor_of_rows(model, torch.tensor([[900.0, 3.0]]), rows, names=["size", "hue"])[0]
        >>> print(rule, rule.precision, rule.valid)
        size > 499 1.0 True
    """
    _check_table(inputs, rows, predicted)
    _check_options(rows.shape[1], bins=bins, max_size=max_size, beam=beam, samples=samples, categorical=categorical)
    names = _names(rows.shape[1], names, scale)
    asked = Asked(forward, inputs, chunk if isinstance(chunk, Chunks) else Chunks(chunk))
    wanted = asked.of(inputs)
    predicted = asked.of(rows) if predicted is None else predicted
    is_category = torch.tensor([column in categorical for column in range(rows.shape[1])])
    bar, drawn, shared = Bar(threshold, tolerance, confidence), 0 if exact else samples, asked.rows - len(inputs)
    search = RowSearch(
        asked, rows.cpu().double(), predicted.cpu(), bar=bar, generator=torch.Generator().manual_seed(seed),
        shared=shared, categorical=is_category, drawn=drawn,
    )  # fmt: skip
    cuts, beam = cuts_of(search.table, bins or (4 if exact else 8)), beam or (4 if exact else 10)
    one = partial(search.exact if exact else search.observed, beam=beam, max_size=max_size)
    explained = inputs.cpu().double()
    predicates = partial(predicates_of, table=search.table, cuts=cuts, categorical=is_category)
    found = _found(one, explained, predicates, wanted)
    rules = tuple(each.written(names, scale) for each in found)
    unseen = partial(with_unseen, table=search.table, categorical=is_category, names=names, scale=scale)
    return tuple(map(unseen, rules if exact else search.intervened(rules, found), explained))


def _found(
    search: Callable[[Tensor, Predicates, int], RowRule],
    inputs: Tensor,
    predicates: Callable[[Tensor], Predicates],
    wanted: Tensor,
) -> list[RowRule]:
    """The rule of each row; raises where there is no time for the first."""
    found: list[RowRule] = []
    for x, label in zip(inputs, wanted.tolist(), strict=True):
        found.append(search(x, predicates(x), label))
        if not found[0].complete:
            raise OutOfTimeError
    return found


def _check_table(inputs: Tensor, rows: Tensor, predicted: Tensor | None) -> None:
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"`rows` is {tuple(rows.shape)}, wanted (N, F) with a row or more. Pass those of validation.")
    if inputs.ndim != 2 or inputs.shape[1] != rows.shape[1]:
        raise ValueError(
            f"`inputs` is {tuple(inputs.shape)}, wanted (K, {rows.shape[1]}) as `rows` {tuple(rows.shape)}. "
            "Pass one row as x[None]."
        )
    if predicted is not None and (predicted.shape != rows.shape[:1] or predicted.is_floating_point()):
        raise ValueError(
            f"`predicted` is {predicted.dtype} {tuple(predicted.shape)}, wanted the index of a class for each of "
            f"{len(rows)} rows. Pass outputs.argmax(1)."
        )


def _check_options(
    columns: int, *, bins: int | None, max_size: int, beam: int | None, samples: int, categorical: Sequence[int]
) -> None:
    for name, value, least in (
        ("bins", bins, 2),
        ("max_size", max_size, 1),
        ("beam", beam, 1),
        ("samples", samples, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"`{name}` is {value}, wanted {least} or more. Leave it out for the default.")
    wrong = [number for number in categorical if not 0 <= number < columns]
    if wrong:
        raise ValueError(f"`categorical` has {wrong}, wanted numbers of columns, 0 to {columns - 1}.")


def _names(columns: int, names: Sequence[str], scale: tuple[Tensor, Tensor] | None) -> Sequence[str]:
    names = names or [f"column {number}" for number in range(columns)]
    if len(names) != columns:
        raise ValueError(f"`names` has {len(names)}, wanted one for each of {columns} columns.")
    if scale is not None and any(part.shape != (columns,) for part in scale):
        shapes = [tuple(part.shape) for part in scale]
        raise ValueError(f"`scale` is {shapes}, wanted mean and standard deviation of {columns} columns, each (F,).")
    return names
