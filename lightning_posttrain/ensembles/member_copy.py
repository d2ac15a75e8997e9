"""A copy of a network with a member's weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_posttrain.core.runs.trainers import uncompiled
from lightning_posttrain.ensembles.members.weights import plain


def member_of(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A deep copy of a network with the parameters and buffers of a member, in the network's type and device.

    Buffers that a state has not, as those that are not persistent, are the network's.

    Args:
        network: stays as it was; of a compiled one, what was compiled is copied.
        state: parameters and buffers by name, with or without the mark of a compiled module; others are skipped.

    Raises:
        ValueError: a parameter is missing, or has another shape.
    """
    eager = uncompiled(network)
    with torch.inference_mode(False):
        made: nn.Module = copy.deepcopy(eager)
    given = {plain(name): value for name, value in state.items()}
    state_of = made.state_dict(keep_vars=True)
    own = {plain(name): value for name, value in state_of.items() if isinstance(value, Tensor)}
    missing = sorted(own.keys() - given.keys())
    if missing:
        raise ValueError(
            f"a member lacks {missing[0]!r}, which the network has ({len(missing)} of {len(own)} names are missing). "
            "Give checkpoints of this network."
        )
    with torch.inference_mode(False), torch.no_grad():
        for name, value in own.items():
            _put(name, value, given[name])
    return made


def _put(name: str, into: Tensor, value: Tensor) -> None:
    if into.shape != value.shape:
        raise ValueError(
            f"a member has {name!r} of shape {tuple(value.shape)}, the network {tuple(into.shape)}. Give checkpoints "
            "of this network."
        )
    into.copy_(value)
