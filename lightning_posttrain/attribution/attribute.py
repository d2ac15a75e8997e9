"""Several methods on one problem: what can be shared is shared, and no map is kept that is known to be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.attribution.cams import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from lightning_posttrain.attribution.captum_methods import Own
from lightning_posttrain.attribution.chunks import OutOfTimeError
from lightning_posttrain.attribution.layers import spread
from lightning_posttrain.attribution.methods import InputXGradient, Method, Saliency
from lightning_posttrain.attribution.occlusion import Occlusion
from lightning_posttrain.attribution.path_methods import GradientShap, IntegratedGradients, SmoothGrad
from lightning_posttrain.attribution.problem import GAP, NotApplicableError, Problem, gap, wide
from lightning_posttrain.attribution.rule_methods import (
    LRP,
    AttentionRollout,
    DeepLift,
    GradientRollout,
    GuidedBackprop,
)

LANES = 8
"""Channels of a series up to which its maps are also kept for each."""
CANCELLED = 1000.0
"""Values that add up to the change only as small differences of so much larger ones are not kept."""

METHODS: Mapping[str, type[Method]] = {
    method.name: method
    for method in (
        Saliency, InputXGradient, IntegratedGradients, SmoothGrad, GuidedBackprop, DeepLift, LRP, GradientShap,
        Occlusion, HiResCAM, GradCAM, GradCAMPlusPlus, LayerCAM, AttentionRollout, GradientRollout,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Attributed:
    """Maps ``(K, *spatial)``, on the CPU, by method; what is missing, and why.

    ``gaps`` are, for methods that promise completeness, the share of the change in output that each map leaves out
    ``(K,)``; ``refused`` the samples for which that is too much; ``by_channel`` the maps ``(K, C, T)`` of each of the
    few channels of a series, which its map adds up.
    """

    maps: dict[str, Tensor] = field(default_factory=dict)
    gaps: dict[str, tuple[float, ...]] = field(default_factory=dict)
    refused: dict[str, Mapping[int, str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    by_channel: dict[str, Tensor] = field(default_factory=dict)


def as_method(method: str | Method | Callable[[Problem], Tensor]) -> Method:
    """A method by its name, a function, or as it is.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> as_method("integrated_gradients").steps
        16
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"`methods` has {method!r}, wanted some of {', '.join(METHODS)}, a Method or a function.")
        return METHODS[method]()
    if callable(method):
        return Own(method)
    raise ValueError(f"`methods` has {method!r}, wanted names, Methods or functions.")


def as_methods(methods: Iterable[str | Method | Callable[[Problem], Tensor]]) -> tuple[Method, ...]:
    """Several, of different names.

    Raises:
        ValueError: there is none, or two have one name.
    """
    found = tuple(map(as_method, methods))
    names = [method.name for method in found]
    twice = [name for name in names if names.count(name) > 1]
    if not names or twice:
        raise ValueError(
            f"`methods` has {f'{twice[0]!r} twice' if twice else 'none'}, wanted some of {', '.join(METHODS)}."
        )
    return found


def attribute(
    methods: Iterable[str | Method | Callable[[Problem], Tensor]],
    problem: Problem,
    *,
    failed: Callable[[str, Exception], None] | None = None,
) -> Attributed:
    """Work out the maps of several methods; inside a ``gradient_session``.

    Args:
        methods: names in ``METHODS``, ``Method`` objects or functions of the problem.
        problem: what is explained.
        failed: told of an error in a method, which is then left out; default: the error is raised.

    Example:
        >>> import torch
        >>> weight = torch.tensor([1.0, 2.0])
        >>> x = torch.ones(1, 2)
        >>> problem = Problem(lambda rows, which: rows @ weight, x, torch.zeros_like(x))
        >>> attribute(["integrated_gradients"], problem).maps["integrated_gradients"].tolist()
        [[1.0, 2.0]]
    """
    chosen = as_methods(methods)
    problem = wanted(chosen, problem)
    found, worked = Attributed(), list[_Worked]()
    for method in chosen:
        try:
            problem.chunks.check()
            worked.append(_worked(method, problem, method.attribute(problem).detach()))
        except (NotApplicableError, OutOfTimeError) as reason:
            found.skipped[method.name] = str(reason)
        except Exception as error:
            if failed is None:
                raise
            found.skipped[method.name] = f"{type(error).__name__}: {error}"
            failed(method.name, error)
    # read when all is on its way, as each time stops an accelerator's queue
    figures = torch.cat([figure for one in worked for figure in one.figures]).tolist() if worked else []
    for one in worked:
        _keep(found, one, [figures.pop(0) for _ in one.figures])
    return found


def wanted(methods: Iterable[Method], problem: Problem) -> Problem:
    """The problem with one shared pass that gives what all methods read of it."""
    wants: frozenset[str] = frozenset().union(*(method.wants for method in methods))
    return problem if wants == problem.wants else replace(problem, wants=wants)


def map_of(method: Method, problem: Problem) -> Tensor:
    """The map ``(K, *spatial)`` of one method as it comes, whatever it leaves out; inside a ``gradient_session``."""
    problem.chunks.check()
    return to_map(method.attribute(problem).detach(), problem, signed=method.signed)


class _Worked(NamedTuple):
    """What a method gave, where the inputs are, and what is asked of it before it is kept.

    ``figures`` are ``(1, K)`` each: the largest magnitude, the share that is missing, the size of all in changes.
    """

    method: Method
    figures: list[Tensor]
    map_: Tensor
    by_channel: Tensor | None


def _worked(method: Method, problem: Problem, values: Tensor) -> _Worked:
    flat = values.reshape(len(values), -1)
    figures = [torch.linalg.vector_norm(flat, torch.inf, 1)]  # not finite where one value is not
    if method.complete:
        size = wide(flat.abs().sum(1)) / wide(problem.change).abs().clamp(min=1e-12)
        figures += [gap(values, problem.change), size]
    map_, dim, each = to_map(values, problem, signed=method.signed).float(), problem.channel_dim, None
    if dim is not None and values.ndim == 3 and values.shape == problem.inputs.shape and 1 < values.shape[dim] <= LANES:
        each = (values if method.signed else values.abs()).movedim(dim, 1).float()
    return _Worked(method, [figure[None] for figure in figures], map_, each)


def _keep(found: Attributed, worked: _Worked, figures: list[list[float]]) -> None:
    method, (largest, *shares) = worked.method, figures
    if not all(map(math.isfinite, largest)):
        found.skipped[method.name] = f"it gives values that are not finite; take {method.instead}"
        return
    if shares:
        found.gaps[method.name] = tuple(shares[0])
        reasons = enumerate(_why_refused(*pair, method.instead) for pair in zip(shares[0], shares[1], strict=True))
        found.refused[method.name] = refused = {row: reason for row, reason in reasons if reason}
        if len(refused) == len(largest):
            found.skipped[method.name] = next(iter(refused.values()))
            return
    found.maps[method.name] = worked.map_.cpu()
    if worked.by_channel is not None:
        found.by_channel[method.name] = worked.by_channel.cpu()


def _why_refused(missing: float, size: float, instead: str) -> str:
    """Why a map is not kept that leaves out a share of the change and whose values are so many times the change."""
    if size > CANCELLED:
        return f"its values are {size:.0e} times the change and cancel out: take another baseline"
    return f"{missing:.0%} of the change is missing: take {instead}" if missing > GAP else ""


def to_map(values: Tensor, problem: Problem, *, signed: bool) -> Tensor:
    """Values of the inputs' shape as one map for each sample: the sum over channels, or the largest magnitude."""
    dim = problem.channel_dim
    if values.shape != problem.inputs.shape or dim is None:
        values = values if values.shape == problem.inputs.shape else spread(values, problem.spatial)
        return values if signed else values.abs()
    return values.sum(dim) if signed else values.abs().amax(dim)
