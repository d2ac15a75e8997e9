"""Find the layer that class activation maps are taken from, and lay its output out over the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_posttrain.attribution.problem import Problem, like

LEAST_SLOPE, LEAST_TIE = 0.05, 0.8
"""How much a step along a layer's grid must move what it looks at in the input, and how surely."""
Scripted = torch.jit.ScriptModule
"""Takes no hooks."""
PREFIX = 8
"""A class token, distillation tokens and registers are so many at most."""


def find_cam_layer(problem: Problem) -> str | None:
    """Dotted name of the last layer that still says where, and that all of the output goes through; None without one.

    A layer qualifies where its output is laid out as the input is, as maps ``(N, C, H, W)`` or ``(N, H, W, C)``,
    tokens of a grid ``(N, T, D)`` or ``(N, C, T)`` of a series, and each position looks at the input about where it
    lies; where the output of the model changes with more than a few of these; where no way leads past it; and where no
    recurrent layer ran before, after which each position tells of others. A map of less than 4 × 4 says little about
    where, so the last layer with at least that is taken; if there is none, the last with at least 2 × 2. The sum at
    the end of a residual block comes before the convolution inside it.
    """
    assert problem.module is not None
    if len(problem.spatial) not in (1, 2) or isinstance(problem.module, Scripted):
        return None
    which = problem.all[:2]
    leaf = problem.inputs[which].detach().clone().requires_grad_()
    with _outputs(problem.module) as seen:
        value = problem.score(leaf.clone(), which)
    if not value.requires_grad:
        return None
    first = {name: outputs[0] for name, outputs in _before_recurrence(problem.module, seen) if len(outputs) == 1}
    once = {name: output for name, output in first.items() if output.requires_grad and len(output) == len(which)}
    laid = {name: found for name, output in once.items() if (found := layout(output, problem.spatial)) is not None}
    wanted = [once[name] for name in laid]
    slopes = torch.autograd.grad(value.sum(), wanted, allow_unused=True, retain_graph=True) if laid else ()
    felt = dict(zip(laid, slopes, strict=True))
    for smallest in (4, 2):
        for name in reversed(list(laid)):
            slope = felt[name]
            large = min(laid[name][1]) >= smallest
            wide = large and slope is not None and _wide(to_maps(slope, laid[name]))
            if wide and _over_the_input(to_maps(once[name], laid[name]), leaf, problem) and _no_way_past(problem, name):
                return name
    return None


def _before_recurrence(module: nn.Module, seen: dict[str, list[Tensor]]) -> Iterator[tuple[str, list[Tensor]]]:
    recurrent = {name for name, part in module.named_modules() if isinstance(part, nn.RNNBase)}
    return takewhile(lambda entry: entry[0] not in recurrent, seen.items())


Layout = tuple[str, tuple[int, ...], int]
"""How an output is laid out: the places of channels, the grid, and how many tokens come before it."""


def layout(output: Tensor, spatial: tuple[int, ...]) -> Layout | None:
    """How an output of shape ``(N, ...)`` lies over an input with so many positions a side; None where it does not.

    Example:
        >>> layout(torch.zeros(2, 5, 4, 4), (8, 8)), layout(torch.zeros(2, 17, 6), (8, 8))
        (('first', (4, 4), 0), ('last', (4, 4), 1))
    """
    shape = tuple(output.shape[1:])
    if len(spatial) == 2 and len(shape) == 3:
        last = _distortion(shape[:2], spatial) < _distortion(shape[1:], spatial)
        return ("last", shape[:2], 0) if last else ("first", shape[1:], 0)
    if len(spatial) == 2 and len(shape) == 2:
        grid = grid_of(shape[0], spatial)
        return None if grid is None else ("last", grid[1], grid[0])
    if len(spatial) == 1 and len(shape) == 2:
        if shape[0] in (spatial[0], spatial[0] + 1) and shape[1] != spatial[0]:
            return "last", spatial, shape[0] - spatial[0]
        return "first", shape[1:], 0
    return None


def grid_of(tokens: int, spatial: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """How many tokens come before those that lie on a grid over the input, and the sides of the grid.

    Example:
        >>> grid_of(17, (32, 32)), grid_of(50, (64, 128)), grid_of(12, (12,)), grid_of(15, (32, 32))
        ((1, (4, 4)), (0, (5, 10)), (0, (12,)), (6, (3, 3)))
    """
    for prefix in range(min(PREFIX, tokens - 1) + 1):
        left = tokens - prefix
        if len(spatial) == 1 and left == spatial[0]:
            return prefix, spatial
        if len(spatial) == 2:
            rows = round((left * spatial[0] / spatial[1]) ** 0.5)
            if rows > 1 and left % rows == 0 and not _distortion((rows, left // rows), spatial):
                return prefix, (rows, left // rows)
    return None


def _distortion(sides: tuple[int, ...], spatial: tuple[int, ...]) -> float:
    """How far the shape of a grid is from that of the input, 0 where they are the same."""
    first, second = sides[0] * spatial[1], sides[1] * spatial[0]
    return max(first, second) / min(first, second) - 1


def to_maps(output: Tensor, laid: Layout) -> Tensor:
    """An output ``(N, ...)`` as maps ``(N, C, *grid)``."""
    place, grid, prefix = laid
    if place == "first":
        return output
    if output.ndim == 3:
        output = output[:, prefix:].reshape(len(output), *grid, output.shape[-1])
    return output.movedim(-1, 1)


def spread(maps: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """Maps ``(K, *grid)`` enlarged to ``(K, *spatial)``, linearly between the centres of positions."""
    if maps.shape[1:] == spatial:
        return maps
    mode = "bilinear" if len(spatial) == 2 else "linear"
    return F.interpolate(maps[:, None].float(), size=spatial, mode=mode, align_corners=False)[:, 0]


def _wide(slopes: Tensor) -> bool:
    """Whether more than one position matters to each sample, and not only those of a class token."""
    felt = slopes.abs().sum(1).flatten(1) > 0
    return bool((felt.sum(1) > 1).all())


def _over_the_input(maps: Tensor, leaf: Tensor, problem: Problem) -> bool:
    """Whether the positions of maps ``(N, C, *grid)`` look at the inputs where they seem to lie, along each side.

    A layer of channels, of queries or of states that have seen all of a sequence has as many numbers, but no places.
    """
    for side, length in enumerate(maps.shape[2:]):
        places = sorted({round(share * (length - 1)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)})
        lines = [maps.select(side + 2, place).square().sum() for place in places]
        found = [_centre(torch.autograd.grad(line, leaf, retain_graph=True)[0], side, problem) for line in lines]
        meant = torch.tensor([(place + 0.5) / length for place in places], dtype=torch.float64)
        centres = torch.stack(found).cpu().double()
        steps = centres - centres.mean()
        slope = (steps * (meant - meant.mean())).sum() / (meant - meant.mean()).square().sum()
        if not bool(slope > LEAST_SLOPE) or not bool(torch.corrcoef(torch.stack([centres, meant]))[0, 1] > LEAST_TIE):
            return False
    return True


def _centre(gradient: Tensor, side: int, problem: Problem) -> Tensor:
    """Where along a side the magnitude of gradients lies, 0 to 1."""
    sizes = gradient.detach().abs()
    sizes = sizes if problem.channel_dim is None else sizes.sum(problem.channel_dim)
    along = sizes.movedim(side + 1, 0).flatten(1).sum(1)
    places = (torch.arange(len(along), device=along.device) + 0.5) / len(along)
    return (along * places).sum() / along.sum()


def _no_way_past(problem: Problem, name: str) -> bool:
    """Whether the output of the model no longer depends on the input once a layer's output is held fixed."""
    assert problem.module is not None
    which = problem.all[:1]
    leaf = problem.inputs[which].detach().clone().requires_grad_()
    handle = problem.module.get_submodule(name).register_forward_hook(lambda _m, _a, output: _held(output))
    try:
        value = problem.score(leaf.clone(), which)
    finally:
        handle.remove()
    if not value.requires_grad:
        return True
    (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    return slope is None or not bool(slope.any())


def _held(output: Any) -> Any:
    """What a layer gave, with its map held fixed: what it gives beside, as the scores of a whole net, is a way past."""
    if isinstance(output, (tuple, list)):
        return like(output, [output[0].detach(), *output[1:]])
    return output.detach()


@contextmanager
def _outputs(module: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """The outputs of all parts of a module, in the order in which they are done."""
    seen: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def note(_module: nn.Module, _args: Any, output: Any) -> Any:
            first = output[0] if isinstance(output, (tuple, list)) and output else output
            if not isinstance(first, Tensor):
                return None
            outputs = seen.pop(name, [])  # the latest comes last
            seen[name] = [*outputs, first]
            # the next layer may change its input in place
            return first.clone() if first is output else None

        return note

    parts = ((name, part) for name, part in module.named_modules() if name)
    handles = [part.register_forward_hook(hook(name)) for name, part in parts if not isinstance(part, Scripted)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
