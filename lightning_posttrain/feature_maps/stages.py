"""One layer for each resolution that a network works at, as feature pyramids take it: the last of each stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from itertools import groupby

from torch import nn

from lightning_posttrain.feature_maps.trace import Call, Trace, hooked_parts

MOST = 10
"""Stages, at most, as many as a UNet of five levels has; the last ones are kept."""
DEPTHS = 4
"""Blocks of a network that works at one resolution."""


def find_stages(trace: Trace) -> tuple[Call, ...]:
    """The last block at each resolution, in the order of the forward; blocks at even depths where there is but one.

    A call is a block if it works at one resolution, or leads from one to the next; else it is a network of stages.
    Candidates are the blocks that stand in networks of stages alone. Of those that follow each other on one grid the
    last is taken that is neither a layer of a head behind a stage nor gives the output of the network itself.

    Args:
        trace: of one forward.

    Example:
        >>> import torch
        >>> from lightning_posttrain.feature_maps.trace import trace as run
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU())
        >>> net = nn.Sequential(net, nn.Flatten(), nn.LazyLinear(3))
        >>> x = torch.zeros(2, 1, 16, 16)
        >>> [call.name for call in find_stages(run(net, lambda: net(x), rows=2, spatial=(16, 16)))]
        ['0.1', '0.2', '0.4']
    """
    laid = [call for call in trace.calls if call.after and call.name]
    hidden = [call for call in laid if not (call.is_output and call.is_layer)] or laid
    ends = list(_ends([call for call in hidden if call.is_open and call.is_block and call.parent is not None]))
    if len({call.after for call in ends}) < 2:
        ends = _last_of_each([call for call in hidden if call.is_layer])
    if len({call.after for call in ends}) < 2 or _is_misread(ends):
        ends = _at_depths(hidden) or hidden[-1:]
    # of a block that is called again, the last call
    return tuple({call.name: call for call in ends}.values())[-MOST:]


def _ends(blocks: Sequence[Call]) -> Iterator[Call]:
    for _, run in groupby(blocks, key=lambda call: call.after):
        calls = list(run)
        calls = [call for call in calls if not call.is_output] or calls
        whole = [call for call in calls if not call.is_layer]
        # a layer behind a stage that stands elsewhere than the stage is of the head
        behind = whole and calls[-1].is_layer and calls[-1].parent is not whole[-1].parent
        yield whole[-1] if behind else calls[-1]


def _last_of_each(layers: Sequence[Call]) -> list[Call]:
    """The last layer on each grid, in the order in which these end."""
    last = {call.after: call for call in layers}
    return sorted(last.values(), key=layers.index)


def _is_misread(ends: Sequence[Call]) -> bool:
    """Whether the second of two grids is the finer one, as where tokens are taken for something else."""
    grids = [call.after or () for call in ends]
    return len(grids) == 2 and min(grids[0]) < min(grids[1])


def _at_depths(calls: Sequence[Call]) -> list[Call]:
    """Of the kind of block that is repeated most side by side, some at even depths; of layers, where there are none."""
    for group in ([call for call in calls if not call.is_layer], [call for call in calls if call.is_layer]):
        sides = Counter((call.parent, call.kind) for call in group)
        if group and (max(sides.values()) > 1 or group[0].is_layer):
            most = max(sides.values())
            # of kinds as frequent the last, as activations come after what they are of
            which = next(key for key in reversed(list(sides)) if sides[key] == most)
            row = [call for call in group if (call.parent, call.kind) == which]
            return _evenly(row)
    return []


def _evenly(row: list[Call]) -> list[Call]:
    number = min(DEPTHS, len(row))
    return [row[-(-(place + 1) * len(row) // number) - 1] for place in range(number)]


def check_layers(module: nn.Module, layers: Collection[str]) -> None:
    """Raise for a layer that is not there.

    Raises:
        ValueError: the module has none of that name.
    """
    names = [name for name, _ in hooked_parts(module) if name]
    for layer in layers:
        if layer not in names:
            near = get_close_matches(layer, names, 3, cutoff=0.4) or names[:8]
            wanted = (
                f"wanted the dotted name of a part, as {', '.join(map(repr, near))}" if near else "no part has maps"
            )
            raise ValueError(f"`layers` has {layer!r}, {wanted}. Leave `layers` out to have them found.")
