"""What inputs are taken apart into: superpixels, patches, segments."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

COLOR = 20.0
"""Spread of colours against which the compactness is meant, about that of a photograph in Lab."""
FINE = 1024
"""Colours and places are whole numbers of this part of a unit: their sums are exact in any order."""
AT_ONCE = 1 << 21
"""Pixels worked on together."""


def segments(length: int, count: int) -> Tensor:
    """The segment ``(length,)`` int64 that each position is in: ``count`` of them, as even as can be.

    Raises:
        ValueError: there are not as many positions.

    Example:
        >>> segments(5, 2).tolist()
        [0, 0, 0, 1, 1]
    """
    _check("count", count, length, "positions")
    return torch.arange(length) * count // length


def grid_patches(height: int, width: int, rows: int, columns: int) -> Tensor:
    """The patch ``(height, width)`` int64 that each pixel is in, counted in reading order.

    Of a spectrogram, ``rows`` are its bands and ``columns`` its segments of time.

    Raises:
        ValueError: there are not as many pixels on a side.

    Example:
        >>> grid_patches(2, 4, 2, 2).tolist()
        [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    _check("rows", rows, height, "pixels")
    _check("columns", columns, width, "pixels")
    return segments(height, rows)[:, None] * columns + segments(width, columns)


def sides_of(height: int, width: int, count: int) -> tuple[int, int]:
    """Rows and columns of about ``count`` patches that are as square as can be.

    Example:
        >>> sides_of(8, 8, 16), sides_of(100, 200, 50)
        ((4, 4), (5, 10))
    """
    rows = min(max(round((count * height / width) ** 0.5), 1), height, count)
    return rows, min(max(round(count / rows), 1), width)


def slic(images: Tensor, count: int, *, compactness: float = 10.0, steps: int = 10) -> Tensor:
    """Superpixels: connected regions of like colour and like size.

    Centres start on a grid and move to the mean of their pixels; a pixel goes to that of its nine nearest places of the
    grid which is nearest in colour and place together (Achanta et al., 2012, doi:10.1109/TPAMI.2012.120). What is then
    cut off from its region goes to a neighbour of like colour. Colours are taken as they come, in units of their spread
    in the image, so that a normalisation changes nothing.

    Args:
        images: ``(N, C, H, W)``, of any range; NaN and infinity count as 0.
        count: how many superpixels are wanted; there are about as many.
        compactness: weight of the place against the colour; the larger, the more even the shapes.
        steps: how often centres move.

    Returns:
        Labels ``(N, H, W)`` int64, ``0`` to ``M_n - 1`` in each image, in reading order.

    Raises:
        ValueError: ``images`` has another shape, or ``count`` does not suit it.

    Example:
        >>> slic(torch.eye(2)[None, None].repeat_interleave(4, 2).repeat_interleave(4, 3), 4)[0, ::4, ::4].tolist()
        [[0, 1], [2, 3]]
    """
    if images.ndim != 4 or not images.shape[1] or not images.is_floating_point():
        raise ValueError(f"`images` is {images.dtype} {tuple(images.shape)}, wanted floats (N, C, H, W). Move axes.")
    height, width = images.shape[2:]
    _check("count", count, height * width, "pixels")
    if not len(images):
        return torch.zeros(0, height, width, dtype=torch.int64, device=images.device)
    grid = sides_of(height, width, count)
    batches = torch.split(images.detach(), max(1, AT_ONCE // (height * width)))
    return torch.cat([_superpixels(batch, grid, compactness, steps) for batch in batches])


def _check(name: str, count: int, most: int, what: str) -> None:
    if not 1 <= count <= most:
        raise ValueError(f"`{name}` is {count}, wanted 1 to {most}: there are {most} {what}. Ask for fewer parts.")


def _superpixels(images: Tensor, grid: tuple[int, int], compactness: float, steps: int) -> Tensor:
    colors = _colors(images)
    count, height, width = colors.shape[1:]
    side = (height * width / (grid[0] * grid[1])) ** 0.5
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    places = (places.to(colors) * (FINE * compactness / side)).round()
    features = torch.cat([colors, places[:, None].expand(2, count, height, width)])
    labels = _clustered(features.flatten(2), grid_patches(height, width, *grid).to(colors.device), grid, steps)
    owners = _joined(labels.view(count, height, width), colors.flatten(1), least=side * side / 2)
    return _numbered(owners.view(count, -1)).view(count, height, width)


def _colors(images: Tensor) -> Tensor:
    """Colours ``(C, N, H, W)``, float32 that are whole numbers; outliers at the ends of all but two per cent."""
    images = images.float().nan_to_num(0.0, posinf=0.0, neginf=0.0).transpose(0, 1)
    values = images.flatten(2)
    some = values[..., :: values.shape[2] // 4096 | 1].sort().values
    low, below, above, high = (some[..., round(share * (some.shape[2] - 1))] for share in (0.01, 0.16, 0.84, 0.99))
    flat = low == high
    low, high = torch.where(flat, values.amin(2), low), torch.where(flat, values.amax(2), high)
    spread = torch.where(above > below, above - below, high - low).amax(0) / 2
    kept = values.clamp(low[..., None], high[..., None]) - low[..., None]
    scaled = kept * (FINE * COLOR) / torch.where(spread > 0, spread, 1.0)[:, None]
    return scaled.clamp(max=2.0**23).round().view(images.shape)


def _clustered(features: Tensor, home: Tensor, grid: tuple[int, int], steps: int) -> Tensor:
    """The centre ``(N, P)`` of each pixel, from features ``(D, N, P)`` and the cell ``(H, W)`` it is in."""
    cells = grid[0] * grid[1]
    pixels, real = _blocks(home.flatten(), cells)
    blocks = features[:, :, pixels]
    whole = torch.cat([blocks, torch.ones_like(blocks[:1])]).mul(real).long().flatten(1)
    around = _around(grid).to(home.device)
    centers = _means(whole, torch.arange(cells, device=home.device)[:, None].expand(blocks.shape[1:]), blocks[..., 0])
    for step in range(steps + 1):
        labels = _nearest(blocks, centers, around)
        if step < steps:
            centers = _means(whole, labels, centers)
    found = labels.new_empty(labels.shape[0], home.numel())
    found[:, pixels[real]] = labels[:, real]
    return found


def _blocks(home: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The pixels of each cell ``(cells, most)``, and which of them are real: cells may differ by a row or a column."""
    sizes = home.bincount(minlength=cells)
    order = home.argsort(stable=True)
    place = torch.arange(len(home), device=home.device) - (sizes.cumsum(0) - sizes)[home[order]]
    pixels = order.new_zeros(cells, int(sizes.max()))
    pixels[home[order], place] = order
    return pixels, torch.arange(pixels.shape[1], device=home.device) < sizes[:, None]


def _around(grid: tuple[int, int]) -> Tensor:
    """For each cell itself and its neighbours ``(9, cells)``; at the border some stand there twice."""
    rows, columns = (torch.arange(side) + torch.tensor([[0], [-1], [1]]) for side in grid)
    rows, columns = rows.clamp(0, grid[0] - 1), columns.clamp(0, grid[1] - 1)
    return (rows[:, None, :, None] * grid[1] + columns[None, :, None, :]).reshape(9, -1)


def _nearest(blocks: Tensor, centers: Tensor, around: Tensor) -> Tensor:
    """The nearest centre ``(N, cells, S)`` to pixels ``(D, N, cells, S)``."""
    best = torch.full_like(blocks[0], torch.inf)
    chosen = torch.zeros_like(best, dtype=torch.int8)
    for number, neighbors in enumerate(around):
        distance = torch.zeros_like(best)
        for feature, center in zip(blocks, centers[..., neighbors], strict=True):
            off = feature - center[..., None]
            distance.addcmul_(off, off)
        chosen.masked_fill_(distance < best, number)
        best = torch.minimum(best, distance)
    return around.T[torch.arange(around.shape[1], device=around.device)[:, None], chosen.long()]


def _means(whole: Tensor, labels: Tensor, before: Tensor) -> Tensor:
    """The mean ``(D, N, cells)`` of the pixels of each label; of none, what it was ``before``.

    The last of the whole numbers ``(D + 1, N·cells·S)`` counts the pixels.
    """
    count, cells = before.shape[1:]
    places = (labels + torch.arange(count, device=labels.device)[:, None, None] * cells).flatten()
    sums = torch.stack([places.new_zeros(count * cells).index_add(0, places, feature) for feature in whole])
    means = (sums[:-1].float() / sums[-1].clamp(min=1)).view(before.shape)
    return torch.where(sums[-1].view(count, cells) > 0, means, before)


def _joined(labels: Tensor, colors: Tensor, least: float) -> Tensor:
    """For each pixel ``(N·H·W,)`` the first one of its region; what is cut off and small goes to a neighbour."""
    roots = _components(labels)
    sizes = roots.bincount(minlength=len(roots))
    heads = sizes.nonzero()[:, 0]
    keys = (labels + torch.arange(len(labels), device=labels.device)[:, None, None] * (labels.max() + 1)).flatten()
    # the larger first, of equal ones that which comes first
    rank = sizes[heads] * len(roots) - heads
    largest = torch.full_like(keys, -len(roots)).scatter_reduce(0, keys[heads], rank, "amax")
    kept = torch.zeros_like(keys, dtype=torch.bool)
    kept[heads] = (rank == largest[keys[heads]]) | (sizes[heads] >= least)
    return _flooded(torch.where(kept[roots], roots, -1), colors, labels.shape[1:])


def _components(labels: Tensor) -> Tensor:
    """The first pixel ``(N·H·W,)`` of the connected piece of each pixel, over all images."""
    places = torch.arange(labels.numel(), device=labels.device).view(labels.shape)
    starts = F.pad(labels[..., 1:] != labels[..., :-1], (1, 0), value=True)
    roots = torch.where(starts, places, 0).flatten().cummax(0).values
    down = labels[:, 1:] == labels[:, :-1]
    one, other = places[:, 1:][down], places[:, :-1][down]
    while True:
        first, second = roots[one], roots[other]
        apart = first != second
        if not apart.any():
            return roots
        one, other, first, second = one[apart], other[apart], first[apart], second[apart]
        roots = roots.scatter_reduce(0, torch.maximum(first, second), torch.minimum(first, second), "amin")
        while not torch.equal(roots, further := roots[roots]):
            roots = further


def _flooded(owners: Tensor, colors: Tensor, size: torch.Size) -> Tensor:
    """Pixels without an owner (-1) go to the neighbour's that is most like them, from the borders on."""
    orphans = (owners < 0).nonzero()[:, 0]
    near = _neighbors(orphans, *size)
    off = torch.stack([(colors[:, pixels] - colors[:, orphans]).abs().amax(0) for pixels in near])
    while len(orphans):
        whose = owners[near]
        found, best = torch.full_like(orphans, -1), torch.full_like(off[0], torch.inf)
        for owner, distance in zip(whose, off, strict=True):
            nearer = (owner >= 0) & (distance < best)
            found, best = torch.where(nearer, owner, found), torch.where(nearer, distance, best)
        owners = owners.index_put((orphans,), found)
        left = found < 0
        orphans, near, off = orphans[left], near[:, left], off[:, left]
    return owners


def _neighbors(pixels: Tensor, height: int, width: int) -> Tensor:
    """The four neighbours ``(4, n)`` of pixels of many images; over an edge, the pixel itself."""
    row, column = pixels // width % height, pixels % width
    edges = torch.stack([row == 0, row == height - 1, column == 0, column == width - 1])
    steps = torch.tensor([-width, width, -1, 1], device=pixels.device)[:, None]
    return torch.where(edges, pixels, pixels + steps)


def _numbered(owners: Tensor) -> Tensor:
    """Owners ``(N, P)``, each the first pixel of a region among all images, as numbers from 0 in each image."""
    first = torch.arange(len(owners), device=owners.device)[:, None] * owners.shape[1]
    owners = owners - first
    there = torch.zeros_like(owners).scatter(1, owners, 1)
    return (there.cumsum(1) - 1).gather(1, owners)
