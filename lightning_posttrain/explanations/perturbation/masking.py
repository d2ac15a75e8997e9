"""What stands for the parts that are hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_posttrain.attribution import nothing_of
from lightning_posttrain.explanations.perturbation.segments import Parts
from lightning_posttrain.samples.kinds import Kind, channel_dim

BLUR = 0.5
"""Share of each side that a blur is a mean over: more than a part, of which nothing is to be seen."""
Plain = Literal["blur", "mean", "part mean"]
Hiding = float | Plain | Callable[[Tensor], Tensor] | Tensor | None
USUAL: Mapping[Kind, float | Plain | None] = {
    "image": "blur", "spectrogram": "blur", "series": "mean", "tabular": None, "tokens": 0,
}  # fmt: skip


def hidden_of(inputs: Tensor, kind: Kind, parts: Parts, *, how: Hiding = None) -> Tensor:
    """What stands for hidden parts: ``(K, B, ...)``, or ``(1, B, ...)`` for all samples, as ``Game`` takes it.

    Args:
        inputs: the samples ``(K, ...)``.
        kind: what they are.
        parts: what they are taken apart into.
        how: a number; ``"blur"``; ``"mean"`` of each channel over all places; ``"part mean"`` of each channel over each
            part, which keeps the colours, as the lime package does; a function from the inputs to what stands for them;
            or ``B`` rows of background, a tensor ``(B, ...)``, whose outputs are averaged. Default: images and
            spectrograms a blur, series the mean, texts token 0; rows need a background.

    Raises:
        ValueError: ``how`` does not suit the inputs.

    Example:
        >>> x = torch.tensor([[1.0, 3.0, 5.0, 7.0]])
        >>> parts = Parts(torch.tensor([[0, 0, 1, 1]]), 2, (("first", "second"),))
        >>> [hidden_of(x, "series", parts, how=how).flatten().tolist() for how in (None, "part mean", 0.0)]
        [[4.0, 4.0, 4.0, 4.0], [2.0, 2.0, 6.0, 6.0], [0.0, 0.0, 0.0, 0.0]]
    """
    if isinstance(how, Tensor):
        return _background(inputs, how)
    if callable(how):
        return _given(inputs, how(inputs))
    how = _checked(USUAL[kind] if how is None else how, kind)
    dim = channel_dim(inputs.shape, kind)
    maps = inputs.unsqueeze(1) if dim is None else inputs.movedim(dim, 1)
    if how == "part mean":
        index = parts.index.flatten(1)
        hidden = _means(maps.flatten(2), index, parts.count).view(maps.shape)
    else:
        hidden = nothing_of(maps, 1, how, share=BLUR)
    return (hidden.squeeze(1) if dim is None else hidden.movedim(1, dim)).unsqueeze(1)


def _checked(how: float | Plain | None, kind: Kind) -> float | Plain:
    """A number or a name that suits the inputs."""
    if how is None or (kind == "tabular" and isinstance(how, str)):
        raise ValueError(f"`how` is {how!r} for {kind}, wanted rows of background (B, F) as a tensor, or a number.")
    if isinstance(how, str) and how not in get_args(Plain):
        names = ", ".join(map(repr, get_args(Plain)))
        raise ValueError(f"`how` is {how!r}, wanted {names}, a number, a function or a tensor.")
    if kind == "tokens" and (isinstance(how, str) or int(how) != how):
        raise ValueError(f"`how` is {how!r} for tokens, wanted the number of a token, a function or a tensor.")
    return how


def _background(inputs: Tensor, rows: Tensor) -> Tensor:
    if not len(rows) or rows.shape[1:] != inputs.shape[1:]:
        raise ValueError(
            f"`how` is a background {tuple(rows.shape)}, wanted (B, {', '.join(map(str, inputs.shape[1:]))}). "
            "Lay rows out as the samples are, one or more."
        )
    return rows.to(inputs)[None]


def _given(inputs: Tensor, found: object) -> Tensor:
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    try:
        if not isinstance(found, Tensor):
            raise RuntimeError
        return found.to(inputs).expand_as(inputs).unsqueeze(1)
    except RuntimeError:
        raise ValueError(f"`how` gives {shape}, wanted a tensor {tuple(inputs.shape)}, as the samples are.") from None


def _means(maps: Tensor, index: Tensor, count: int) -> Tensor:
    """Maps ``(K, C, P)`` with the mean over each part in the place of its values."""
    values = maps.to(torch.promote_types(maps.dtype, torch.float32))
    index = index[:, None].expand_as(values)
    sums = torch.zeros(*maps.shape[:2], count + 1, dtype=values.dtype, device=maps.device)
    sizes = sums.scatter_add(2, index, torch.ones_like(values))
    means = sums.scatter_add(2, index, values) / sizes.clamp(min=1)
    return means.gather(2, index).to(maps)
