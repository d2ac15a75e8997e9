"""Maps over the epochs: how much they change, where they lie, and what that may mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.attribution import Method, NotApplicableError, OutOfTimeError, Problem, map_of, spread, wanted
from lightning_posttrain.saliency.functional.maps import (
    blurred,
    border,
    corners,
    entropy,
    rank_correlation,
    share_over_area,
)
from lightning_posttrain.saliency.result import Saliency

FRAMES = 12
THUMB = 64
SUSPECT = 2.0
"""A region that holds so many times its share of the attribution is looked at more closely."""
WATCHED = ("integrated_gradients", "input_x_gradient", "deep_lift", "saliency")

Where = Callable[[Tensor, Sequence["int | None"]], Tensor]
"""From inputs ``(K, ...)`` and their dataset positions to a mask ``(K, *spatial)`` or ``(*spatial)``, bool."""


Key = tuple[int, str]
"""Of a map: which sample it is of, and what it explains."""


class Frame(NamedTuple):
    """Maps ``(h, w)`` of one epoch, small."""

    epoch: int
    maps: dict[Key, Tensor]


@dataclass(eq=False)
class Evolution:
    """What is remembered of a loader's maps from epoch to epoch.

    Args:
        fixed: whether the samples are the same in every epoch.
    """

    fixed: bool
    frames: list[Frame] = field(default_factory=list)
    film: str = ""
    _before: dict[str, dict[Key, Tensor]] = field(default_factory=dict)
    _every: int = 1
    _seen: int = 0
    _alarmed: dict[str, int] = field(default_factory=dict)

    def follow(self, result: Saliency, keys: Sequence[Key], epoch: int) -> None:
        """Keep small maps of one method, at most ``FRAMES`` of them, evenly over the epochs, and the last."""
        if not self.fixed or result.kind not in ("image", "spectrogram") or not result.maps:
            return
        likely = ("hirescam", "gradient_rollout", "input_x_gradient", "integrated_gradients")
        self.film = self.film or next((name for name in likely if name in result.maps), next(iter(result.maps)))
        if self.film not in result.maps:
            return
        maps = result.maps[self.film]
        ratio = min(1.0, THUMB / max(maps.shape[1:]))
        small = spread(maps, tuple(max(1, round(n * ratio)) for n in maps.shape[1:]))
        if self.frames and (self._seen - 1) % self._every:
            self.frames.pop()  # the last one stood there as the last only
        self.frames.append(Frame(epoch, dict(zip(keys, small, strict=True))))
        self._seen += 1
        if len(self.frames) > FRAMES:
            self.frames = self.frames[::2]
            self._every *= 2

    def film_of(self, keys: Sequence[Key]) -> Tensor | None:
        """Maps ``(K, E, h, w)`` of the film; None where there are not two epochs, NaN where a map is not there."""
        if len(self.frames) < 2:
            return None
        nothing = torch.full_like(next(iter(self.frames[-1].maps.values())), torch.nan)
        return torch.stack([torch.stack([frame.maps.get(key, nothing) for frame in self.frames]) for key in keys])

    def figures(self, result: Saliency, keys: Sequence[Key], regions: dict[str, Tensor]) -> dict[str, float]:
        """Drift, entropy and shares of regions, of each method, as means over the samples."""
        found: dict[str, float] = {}
        for name, every in result.maps.items():
            rows = [row for row in range(len(every)) if row not in result.refused.get(name, {})]
            maps = every[rows]
            before, now = self._before.get(name, {}), {keys[row]: every[row] for row in rows}
            both = [key for key in now if key in before and before[key].shape == now[key].shape]
            if self.fixed and both:
                pair = (torch.stack([maps[key] for key in both]) for maps in (now, before))
                found[f"{name}/drift"] = 1 - _mean(rank_correlation(*pair))
            self._before[name] = now
            found[f"{name}/entropy"] = _mean(entropy(maps))
            for region, mask in regions.items():
                held = mask if mask.ndim < maps.ndim else mask[rows]
                found[f"{name}/{region}"] = _mean(share_over_area(maps, held))
        return {key: value for key, value in found.items() if value == value}  # noqa: PLR0124 - no NaN

    def alarms(
        self,
        result: Saliency,
        problem: Problem,
        methods: Sequence[Method],
        regions: dict[str, Tensor],
        *,
        at_once: bool,
    ) -> tuple[str, ...]:
        """Regions that draw attention because of what stands in them, at once or in two reports in a row."""
        watched = next((m for name in WATCHED for m in methods if m.name == name in result.maps), None)
        said = []
        for region, mask in regions.items() if watched else ():
            assert watched is not None
            share = _share(result.maps[watched.name], mask)
            without = _share_without(problem, watched, mask) if share > SUSPECT else share
            # of no share without there is nothing to say
            alarmed = share > SUSPECT * max(without, 1.0) and math.isfinite(without)
            self._alarmed[region] = self._alarmed.get(region, 0) + 1 if alarmed else 0
            if alarmed and (at_once or self._alarmed[region] > 1):
                said.append(
                    f"{WORDS.get(region, region)} hold {share:.1f} times their share of the attribution "
                    f"({watched.title}), and {without:.1f} times once they are blurred. The model may go by a marker "
                    "there, which would not be there in the world: look at the maps"
                )
        return tuple(said)


WORDS = {
    "border": "the borders of the inputs",
    "corners": "the corners of the inputs",
    "suspect": "the suspect regions",
}


def _mean(values: Tensor) -> float:
    return float(values.nanmean())


def _share(maps: Tensor, mask: Tensor) -> float:
    """The share over area of most samples: half of them have as much."""
    return float(share_over_area(maps, mask).nanmedian())


def _share_without(problem: Problem, method: Method, mask: Tensor) -> float:
    """The share that a region holds where its content is blurred away."""
    other = replace(problem, inputs=blurred(problem.inputs, mask, problem.channel_dim))
    try:
        return _share(map_of(method.coarse(), wanted([method], other)).float().cpu(), mask)
    except (NotApplicableError, OutOfTimeError):
        return float("nan")


def class_means(
    shown: Tensor, maps: Tensor, target: Tensor, names: Sequence[str]
) -> tuple[tuple[int, ...], Tensor, Tensor]:
    """How many samples of each class there are ``(C,)``, the mean of what is shown of them, and of their maps.

    Example:
        >>> counts, _, maps = class_means(torch.ones(2, 1), torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), "ab")
        >>> counts, maps.tolist()
        ((2, 0), [[2.0], [nan]])
    """
    groups: list[list[int]] = [[] for _ in names]
    for row, label in enumerate(target.tolist()):
        groups[label].append(row)
    images, means = (torch.stack([part[group].mean(0) for group in groups]) for part in (shown, maps))
    return tuple(map(len, groups)), images, means


def regions_of(kind: str, spatial: tuple[int, ...], suspect: Tensor | None) -> dict[str, Tensor]:
    """The regions that are watched, each a mask ``(*spatial)`` or ``(K, *spatial)``."""
    found: dict[str, Tensor] = {}
    if kind in ("image", "series"):
        found["border"] = border(spatial)
        edge = corners(spatial)
        found |= {} if edge is None else {"corners": edge}
    return found if suspect is None else {**found, "suspect": suspect}


def masks(where: Where | None, inputs: Tensor, index: Sequence[int | None], spatial: tuple[int, ...]) -> Tensor | None:
    """What a user's function says of samples, checked.

    Raises:
        ValueError: it gives something else than a mask.
    """
    if where is None:
        return None
    mask = where(inputs, index)
    wanted = (spatial, (len(inputs), *spatial))
    if not isinstance(mask, Tensor) or tuple(mask.shape) not in wanted:
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"a mask is {shape}, wanted a bool tensor {wanted[0]} or {wanted[1]} from (inputs, index).")
    return mask.bool().cpu()
