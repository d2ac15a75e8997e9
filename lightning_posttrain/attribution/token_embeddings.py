"""Tokens as inputs that have a gradient: their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_posttrain.attribution.problem import NotApplicableError, Score


@dataclass(frozen=True, eq=False)
class Embedded:
    """What a forward looks up for tokens ``ids (K, T)``.

    Args:
        ids: the tokens.
        rows: their embeddings ``(K, T, D)``; of several tables beside each other.
        calls: for each lookup in a forward the table it is in.
        widths: of the tables, ``D`` together.
    """

    ids: Tensor
    rows: Tensor
    calls: tuple[int, ...]
    widths: tuple[int, ...]


def embedded(scorer: Callable[[Tensor], Tensor], ids: Tensor) -> Embedded:
    """The embeddings that a forward looks up for tokens ``(K, T)``.

    Raises:
        NotApplicableError: it looks up none.
    """
    mode = _Hearing(ids)
    with torch.no_grad(), mode:
        scorer(ids)
    if not mode.tables:
        raise NotApplicableError("whole numbers have no gradient, and the forward looks up no embedding for them")
    rows = [table[ids].detach() for table in mode.tables]
    return Embedded(ids, torch.cat(rows, -1), tuple(mode.calls), tuple(row.shape[-1] for row in rows))


def score_of_embeddings(score: Score, found: Embedded) -> Score:
    """A function of tokens as one of their embeddings."""

    def scores(rows: Tensor, which: Tensor) -> Tensor:
        ids = found.ids[which]
        parts = torch.split(rows, list(found.widths), -1)
        with _Putting(ids, [parts[table] for table in found.calls]):
            return score(ids, which)

    return scores


class _Lookups(TorchFunctionMode):
    """Hears of each lookup of some tokens."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.ids = ids

    def found(self, weight: Tensor) -> Tensor | None:
        """Told of a table; the rows to put in the place of what is looked up, or None."""
        raise NotImplementedError

    def _same(self, ids: Tensor) -> bool:
        # by value last, for which an accelerator would be waited for
        return ids is self.ids or (ids.shape == self.ids.shape and torch.equal(ids, self.ids))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (F.embedding, F.embedding_bag, torch.embedding):
            return func(*args, **kwargs)
        weight, ids = _table_and_tokens(func, args, kwargs)
        rows = self.found(weight) if self._same(ids) else None
        if rows is None:
            return func(*args, **kwargs)
        return _pooled(rows, args, kwargs) if func is F.embedding_bag else rows


class _Hearing(_Lookups):
    """Notes the tables, and which one each lookup is in."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__(ids)
        self.tables: list[Tensor] = []
        self.calls: list[int] = []

    def found(self, weight: Tensor) -> None:
        """Note a table."""
        known = [i for i, table in enumerate(self.tables) if table.data_ptr() == weight.data_ptr()]
        if not known:
            self.tables.append(weight)
        self.calls.append(known[0] if known else len(self.tables) - 1)


class _Putting(_Lookups):
    """Puts rows in the place of what is looked up, one lookup after the other."""

    def __init__(self, ids: Tensor, rows: Sequence[Tensor]) -> None:
        super().__init__(ids)
        self._rows = cycle(rows)

    def found(self, weight: Tensor) -> Tensor:  # noqa: ARG002
        """The rows of this lookup."""
        return next(self._rows)


def _table_and_tokens(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    first, second = (*args, *(kwargs[name] for name in ("input", "weight") if name in kwargs))[:2]
    return (first, second) if func is torch.embedding else (second, first)


def _pooled(rows: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    mode = kwargs.get("mode", args[6] if len(args) > 6 else "mean")
    if mode == "max":
        return rows.amax(1)
    return rows.sum(1) if mode == "sum" else rows.mean(1)
