"""What samples are taken apart into, and what the parts are called."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_posttrain.explanations.functional.superpixels import grid_patches, segments, sides_of, slic
from lightning_posttrain.samples.kinds import Kind, channel_dim, fits_kind, to_display

How = int | str | Callable[[Tensor], Tensor] | None
SUPERPIXELS, SMALL = 40, 32
"""How many superpixels, and the side in pixels below which an image has patches."""
PATCHES, CELLS, SEGMENTS = 36, 64, 32
PEERS: Mapping[str, Callable[[int], dict[str, float]]] = {
    "quickshift": lambda _pixels: {"kernel_size": 4, "max_dist": 200, "ratio": 0.2},
    "felzenszwalb": lambda pixels: {"scale": 100, "sigma": 0.5, "min_size": pixels // 100},
}
"""Functions of scikit-image, and their options; those of quickshift are what the lime package takes."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What samples are taken apart into.

    Args:
        index: the part of each value, int64 ``(K, ...)``, or ``(1, ...)`` where all samples are taken apart alike; 1
            stands for all channels, and ``count`` for no part.
        count: ``M``, how many parts there are; a sample may have fewer.
        names: of the parts, for each of the ``K`` samples, or once for all.
    """

    index: Tensor
    count: int
    names: tuple[tuple[str, ...], ...]

    def names_of(self, sample: int) -> tuple[str, ...]:
        """The names of a sample's parts."""
        return self.names[sample % len(self.names)]

    def there(self) -> Tensor:
        """Which parts each sample has ``(K, M)``, or ``(1, M)`` for all, bool."""
        found = torch.zeros(len(self.index), self.count + 1, dtype=torch.bool, device=self.index.device)
        return found.scatter_(1, self.index.flatten(1), True)[:, : self.count]

    def each(self, samples: int) -> list[Tensor]:
        """The numbers of the parts that each of so many samples has ``(m,)``, on the CPU."""
        there = self.there().cpu()
        return [there[k % len(there)].nonzero()[:, 0] for k in range(samples)]

    def only(self, sample: int, which: Tensor) -> Parts:
        """Some of the parts ``(m,)`` of one sample, numbered anew; others belong to no part."""
        number = torch.full((self.count + 1,), len(which), device=self.index.device)
        number[which.to(number.device)] = torch.arange(len(which), device=number.device)
        names = self.names_of(sample)
        index = number[self.index[sample % len(self.index)]][None]
        return Parts(index, len(which), (tuple(names[i] for i in which.tolist()),))


def placed(which: Sequence[Tensor], values: Sequence[Tensor], count: int) -> Tensor:
    """Values of the parts that each sample has ``(1, m)``, at their numbers among all parts ``(K, count)``."""
    pairs = zip(which, values, strict=True)
    return torch.stack([torch.zeros(count, dtype=v.dtype).index_put((own.cpu(),), v[0].cpu()) for own, v in pairs])


def parts_of(
    inputs: Tensor, kind: Kind, *, how: How = None, names: Sequence[str] = (), words: Sequence[Sequence[str]] = ()
) -> Parts:
    """Take samples apart.

    Args:
        inputs: the samples ``(K, ...)``.
        kind: what they are.
        how: a number of parts; for images also ``"slic"``, ``"grid"``, or ``"quickshift"`` and ``"felzenszwalb"`` of
            scikit-image; or a function from the inputs to labels, whole numbers from 0 for each place ``(K, *spatial)``
            or ``(*spatial)``. Default: images of 32 pixels or more on each side about 40 superpixels, smaller ones at
            most about 36 square patches, spectrograms 8 bands in 8 segments of time, series 32 segments of two values
            or more, rows their columns, texts their tokens.
        names: of the columns of rows.
        words: of each token, ``K`` times ``T``; one that is ``""``, as of padding, belongs to no part.

    Raises:
        ValueError: ``how``, or what a function gives, does not suit the inputs; or there are not as many names.
        ImportError: scikit-image is needed and not installed.

    Example:
        >>> parts = parts_of(torch.zeros(3, 4), "series", how=2)
        >>> parts.index.tolist(), parts.names
        ([[0, 0, 1, 1]], (('values 0 to 1', 'values 2 to 3'),))
    """
    if kind not in get_args(Kind):
        raise ValueError(f"`kind` is {kind!r}, wanted {', '.join(map(repr, get_args(Kind)))}.")
    if not fits_kind(inputs.shape, kind):
        raise ValueError(f"`inputs` is {tuple(inputs.shape)}, wanted a batch of {kind}. Name another kind.")
    dim = channel_dim(inputs.shape, kind)
    spatial = tuple(side for axis, side in enumerate(inputs.shape) if axis not in (0, dim))
    if callable(how):
        labels, titles = _given(how(inputs), len(inputs), spatial)
    else:
        _check(how, kind, spatial)
        labels, titles = _usual(inputs, kind, dim, spatial, how=how)
    labels = labels.to(inputs.device)
    if kind == "tokens" and len(words):
        return _without_padding(labels, len(titles), words, spatial[0])
    if kind == "tabular" and len(names) and not callable(how):
        titles = _named(names, spatial[0])
    return Parts(labels if dim is None else labels.unsqueeze(dim), len(titles), (tuple(titles),))


def _check(how: int | str | None, kind: Kind, spatial: tuple[int, ...]) -> None:
    """Raise where a number or a name does not suit the inputs."""
    if how is None:
        return
    places = torch.Size(spatial).numel()
    known = ("slic", "grid", *PEERS) if kind == "image" else ()
    if isinstance(how, str) and how not in known:
        also = f"{', '.join(map(repr, known))}, " if known else ""
        raise ValueError(f"`how` is {how!r} for {kind}, wanted {also}a number or a function. Choose one of these.")
    if kind in ("tabular", "tokens"):
        raise ValueError(f"`how` is {how!r} for {kind}, wanted None, for one part a place, or a function from inputs.")
    if not isinstance(how, str) and not 1 <= how <= places:
        raise ValueError(f"`how` is {how}, wanted 1 to {places} parts, as many as there are places. Ask for fewer.")


def _usual(
    inputs: Tensor, kind: Kind, dim: int | None, spatial: tuple[int, ...], *, how: int | str | None
) -> tuple[Tensor, Sequence[str]]:
    """Labels ``(K or 1, *spatial)`` and the names of the parts."""
    if kind == "image":
        return _image(inputs, dim, spatial, how)
    if kind == "spectrogram":
        return _bands(spatial[0], spatial[1], CELLS if how is None else int(how))
    length = spatial[0]
    if kind == "series":
        count = min(SEGMENTS, -(-length // 2)) if how is None else int(how)
        labels = segments(length, count)
        ends = labels.bincount().cumsum(0).tolist()
        return labels[None], [f"values {first} to {end - 1}" for first, end in zip([0, *ends], ends, strict=False)]
    what = "feature {}" if kind == "tabular" else "position {}"
    return torch.arange(length)[None], [what.format(i + (kind == "tokens")) for i in range(length)]


def _image(
    inputs: Tensor, dim: int | None, spatial: tuple[int, ...], how: int | str | None
) -> tuple[Tensor, Sequence[str]]:
    height, width = spatial
    small = min(spatial) < SMALL
    if isinstance(how, str) and how in PEERS:
        return _numbered(_of_scikit_image(how, to_display(inputs, dim)))
    if how == "grid" or (small and how != "slic"):
        # patches of two pixels a side at least, where nothing else is said
        count = how if isinstance(how, int) else min(PATCHES, max(height // 2, 1) * max(width // 2, 1))
        return _patches(height, width, *sides_of(height, width, count))
    maps = inputs.unsqueeze(1) if dim is None else inputs.movedim(dim, 1)
    count = how if isinstance(how, int) else min(SUPERPIXELS, height * width)
    return _numbered(slic(maps if maps.is_floating_point() else maps.float(), count))


def _numbered(labels: Tensor) -> tuple[Tensor, Sequence[str]]:
    return labels, [f"part {i + 1}" for i in range(int(labels.max()) + 1 if labels.numel() else 0)]


def _patches(height: int, width: int, rows: int, columns: int) -> tuple[Tensor, Sequence[str]]:
    names = [f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns)]
    return grid_patches(height, width, rows, columns)[None], names


def _bands(height: int, width: int, count: int) -> tuple[Tensor, Sequence[str]]:
    # as many bands as segments, as frequency and time have no common measure
    bands = min(round(count**0.5), height)
    times = min(round(count / bands), width)
    names = [f"band {b + 1} of {bands}, time {t + 1} of {times}" for b in range(bands) for t in range(times)]
    return grid_patches(height, width, bands, times)[None], names


def _of_scikit_image(how: str, shown: Tensor) -> Tensor:
    """Labels ``(K, H, W)`` of images ``(K, H, W, 3)`` in 0 to 1."""
    try:
        function: Any = getattr(importlib.import_module("skimage.segmentation"), how)
    except ImportError as error:
        raise ImportError(f"`how` is {how!r}, which is scikit-image's: pip install scikit-image") from error
    images, options = shown.double().cpu().numpy(), PEERS[how](shown[0, ..., 0].numel())
    return torch.stack([torch.from_numpy(function(image, **options)).long() for image in images])


def _given(labels: Any, samples: int, spatial: tuple[int, ...]) -> tuple[Tensor, Sequence[str]]:
    """Labels as a function gave them, without holes; a part is called after its label."""
    found = torch.as_tensor(labels)
    found = found[None] if found.ndim == len(spatial) else found
    fits = tuple(found.shape[1:]) == spatial and len(found) in (1, samples)
    if not fits or found.is_floating_point() or found.is_complex() or bool((found < 0).any()):
        lowest = f" from {found.min()}" if found.numel() and not found.is_complex() else ""
        raise ValueError(
            f"`how` gives labels {tuple(torch.as_tensor(labels).shape)}, {found.dtype}{lowest}; wanted whole numbers "
            f"from 0, {(samples, *spatial)} or {spatial}. A label says which part a place belongs to."
        )
    values, places = torch.unique(found.long(), return_inverse=True)
    return places, [f"part {value}" for value in values.tolist()]


def _named(names: Sequence[str], count: int) -> Sequence[str]:
    if len(names) != count:
        raise ValueError(f"`names` has {len(names)} names, wanted {count}: one for each column.")
    return [str(name) for name in names]


def _without_padding(labels: Tensor, count: int, words: Sequence[Sequence[str]], length: int) -> Parts:
    """Parts of texts, called after their words."""
    if any(len(row) != length for row in words) or len(labels) not in (1, len(words)):
        shape = (len(words), len(words[0]))
        raise ValueError(f"`words` is {shape}, wanted a word for each of {length} tokens of each sample.")
    there = torch.tensor([[word != "" for word in row] for row in words], device=labels.device)
    index = torch.where(there, labels, count)
    return Parts(index, count, tuple(_called(row, of, count) for row, of in zip(words, index.tolist(), strict=True)))


def _called(words: Sequence[str], labels: list[int], count: int) -> tuple[str, ...]:
    """The words of each part, with the position of the first where another part has the same."""
    said: list[list[str]] = [[] for _ in range(count + 1)]
    for word, label in zip(words, labels, strict=True):
        said[label].append(word)
    names = [" ".join(each) for each in said[:count]]
    times = Counter(names)
    return tuple(
        f"{name} (at {labels.index(part) + 1})" if name and times[name] > 1 else name for part, name in enumerate(names)
    )
