"""Tokens as inputs that have a gradient: their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_posttrain.attribution.problem import NotApplicableError, Score


def embedded(scorer: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Embeddings ``(K, T, D)`` that a forward looks up for tokens ``(K, T)``.

    Raises:
        NotApplicableError: it looks up none.
    """
    mode = _Lookup(ids, None)
    with torch.no_grad(), mode:
        scorer(ids)
    if mode.rows is None:
        raise NotApplicableError("whole numbers have no gradient, and the forward looks up no embedding for them")
    return mode.rows.detach()


def score_of_embeddings(score: Score, ids: Tensor) -> Score:
    """A function of tokens as one of their embeddings."""

    def scores(rows: Tensor, which: Tensor) -> Tensor:
        with _Lookup(ids[which], rows):
            return score(ids[which], which)

    return scores


class _Lookup(TorchFunctionMode):
    """Hears the first embedding that is looked up for some tokens, and puts others in its place."""

    def __init__(self, ids: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.ids, self.rows, self._put = ids, rows, rows is not None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (F.embedding, F.embedding_bag, torch.embedding):
            return func(*args, **kwargs)
        weight, ids = _table_and_tokens(func, args, kwargs)
        if ids.shape != self.ids.shape or not torch.equal(ids, self.ids):
            return func(*args, **kwargs)
        if not self._put:
            self.rows = weight[ids] if self.rows is None else self.rows
            return func(*args, **kwargs)
        assert self.rows is not None
        return _pooled(self.rows, args, kwargs) if func is F.embedding_bag else self.rows


def _table_and_tokens(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    first, second = (*args, *(kwargs[name] for name in ("input", "weight") if name in kwargs))[:2]
    return (first, second) if func is torch.embedding else (second, first)


def _pooled(rows: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    mode = kwargs.get("mode", args[6] if len(args) > 6 else "mean")
    if mode == "max":
        return rows.amax(1)
    return rows.sum(1) if mode == "sum" else rows.mean(1)
