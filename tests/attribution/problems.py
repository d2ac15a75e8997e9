"""Problems for tests: a network, samples, a class for each."""

from __future__ import annotations

import torch

from lightning_posttrain.attribution.attribute import attribute
from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.layers import find_cam_layer
from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.session import gradient_session


def problem_of(net, x, target=None, *, baseline=None, layer=None, chunk=32, **options):
    """The logit of a class of each sample."""
    target = torch.arange(len(x)) % 4 if target is None else target

    def score(rows, which):
        return net(rows).gather(1, target[which][:, None])[:, 0]

    none = torch.zeros_like(x) if baseline is None else baseline
    dim = 1 if x.ndim == 4 else None
    return Problem(
        score, x, none, options.pop("channel_dim", dim), module=net, layer=layer, chunks=Chunks(chunk), **options
    )


def maps_of(method, problem):
    """The maps of one method."""
    with gradient_session(problem.module):
        found = attribute([method], problem)
    assert not found.skipped, found.skipped
    return next(iter(found.maps.values()))


def values_of(method, problem):
    """The values of one method as it gives them."""
    with gradient_session(problem.module):
        return method.attribute(problem).detach()


def layer_of(problem):
    with gradient_session(problem.module):
        return find_cam_layer(problem)
