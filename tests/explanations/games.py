"""Games of a few parts, and what their parts are worth, slow and by definition."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.explanations.perturbation.cooperative_game import Game


def game_of(forward, inputs, background=None, *, chunk=4096, seconds=None):
    """Each value of a row is a part; zeros stand for what is hidden."""
    count = inputs.shape[1]
    hidden = torch.zeros(1, 1, count) if background is None else background[None]
    return Game(forward, inputs, torch.arange(count)[None], count, hidden, Chunks(chunk, seconds=seconds))


def network_of(count, outputs=3, width=32, seed=0):
    """A network that lets its inputs act together, in float64."""
    torch.manual_seed(seed)
    layers = [nn.Linear(count, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)]
    net = nn.Sequential(*layers).double().eval().requires_grad_(False)
    return lambda rows: net(rows.double())


def every_mask(count):
    """All masks in the order in which Python counts."""
    return torch.tensor(list(itertools.product([False, True], repeat=count)))


def worth(value, count):
    """A function of a set of parts, asked once for each set."""
    return {
        frozenset(parts): value(frozenset(parts))
        for size in range(count + 1)
        for parts in itertools.combinations(range(count), size)
    }


def slow_shapley(value, count):
    """The mean over all orders of what each part adds when it comes (Shapley, 1953)."""
    told, sums = worth(value, count), [0.0] * count
    for order in itertools.permutations(range(count)):
        for place, part in enumerate(order):
            before = frozenset(order[:place])
            sums[part] += told[before | {part}] - told[before]
    return [total / math.factorial(count) for total in sums]


def slow_banzhaf(value, count):
    """The mean over all sets of the others of what each part adds."""
    told = worth(value, count)
    return [
        sum(told[parts | {part}] - told[parts] for parts in told if part not in parts) / 2 ** (count - 1)
        for part in range(count)
    ]


def value_of(forward, x, background, output):
    """The mean output where rows of the background stand for the parts that are not there, one row at a time."""

    def value(parts):
        total = 0.0
        for row in background:
            mixed = [x[part] if part in parts else row[part] for part in range(len(x))]
            total += float(forward(torch.stack(mixed)[None]).reshape(-1)[output])
        return total / len(background)

    return value
