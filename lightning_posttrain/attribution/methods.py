"""Attribution methods by name, each one map for each sample, by captum.

A method explains one scalar a row: the logit of the row's class. What is passed to captum is always such a
function, never the model with a target, so that a dict, a tuple or a single logit needs no special case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, Saliency
from torch import Tensor, nn

from lightning_posttrain.functional.images import channel_dim

Scalar = Callable[[Tensor, Tensor], Tensor]
"""From inputs ``(K, ...)`` and classes ``(K,)`` to one number a row ``(K,)``."""


class Method(NamedTuple):
    """An attribution method: its name as people write it, whether its maps have a sign, and what works it out.

    ``maps`` takes the explained function, inputs, classes and a layer (for those that need one).
    """

    title: str
    signed: bool
    needs_layer: bool
    maps: Callable[[Scalar, Tensor, Tensor, Any], Tensor]


class Attributed(NamedTuple):
    """Maps ``(K, H, W)`` by method name, and for methods without one the reason."""

    maps: dict[str, Tensor]
    skipped: dict[str, str]


def attribute(
    methods: tuple[str, ...], scorer: Callable[[Tensor], Tensor], inputs: Tensor, target: Tensor, layer: Any
) -> Attributed:
    """Work out the maps of several methods; inside a ``gradient_session``.

    Args:
        methods: names in ``METHODS``.
        scorer: from inputs to logits ``(K, C)``.
        inputs: images ``(K, C, H, W)``, ``(K, H, W, C)`` or ``(K, H, W)``.
        target: the class to explain of each row ``(K,)``.
        layer: module for class activation maps, or None where the model has none.
    """

    def scalar(rows: Tensor, classes: Tensor) -> Tensor:
        # a copy, as the user's forward may change its input in place
        return scorer(rows.clone()).gather(1, classes[:, None])[:, 0]

    maps, skipped = {}, {}
    for name in methods:
        method = METHODS[name]
        if method.needs_layer and layer is None:
            skipped[name] = "no layer gives maps (N, C, H, W); name one with layer=..."
            continue
        leaf = inputs.detach().clone().requires_grad_()
        maps[name] = method.maps(scalar, leaf, target, layer).detach().float().cpu()
    return Attributed(maps, skipped)


def _saliency(scalar: Scalar, inputs: Tensor, target: Tensor, _layer: Any) -> Tensor:
    gradient = Saliency(scalar).attribute(inputs, abs=True, additional_forward_args=(target,))
    return _over_channels(gradient, Tensor.amax)


def _input_x_gradient(scalar: Scalar, inputs: Tensor, target: Tensor, _layer: Any) -> Tensor:
    product = InputXGradient(scalar).attribute(inputs, additional_forward_args=(target,))
    return _over_channels(product, Tensor.sum)


def _integrated_gradients(scalar: Scalar, inputs: Tensor, target: Tensor, _layer: Any) -> Tensor:
    # Gauss-Legendre: captum's trapezoid has weights that sum to 1 - 1/n, a bias of that size
    attributed = IntegratedGradients(scalar).attribute(
        inputs,
        additional_forward_args=(target,),
        n_steps=16,
        method="gausslegendre",
        internal_batch_size=max(len(inputs), 16),
    )
    return _over_channels(attributed, Tensor.sum)


def _grad_cam(scalar: Scalar, inputs: Tensor, target: Tensor, layer: nn.Module) -> Tensor:
    cam = LayerGradCam(scalar, layer).attribute(inputs, additional_forward_args=(target,), relu_attributions=True)
    dim = channel_dim(tuple(inputs.shape))
    size = inputs.shape[1:3] if dim in (None, 3) else inputs.shape[2:]
    return nn.functional.interpolate(cam.float(), size=size, mode="bilinear", align_corners=False)[:, 0]


def _over_channels(values: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    dim = channel_dim(tuple(values.shape))
    return values if dim is None else reduce(values, dim)


METHODS = {
    # Simonyan et al., 2013, arXiv:1312.6034: |gradient|, the largest over channels
    "saliency": Method("Saliency", signed=False, needs_layer=False, maps=_saliency),
    # Shrikumar et al., 2016, arXiv:1605.01713
    "input_x_gradient": Method("Input × gradient", signed=True, needs_layer=False, maps=_input_x_gradient),
    # Sundararajan et al., 2017, arXiv:1703.01365, from a baseline of zeros
    "integrated_gradients": Method("Integrated gradients", signed=True, needs_layer=False, maps=_integrated_gradients),
    # Selvaraju et al., 2017, arXiv:1610.02391
    "grad_cam": Method("Grad-CAM", signed=False, needs_layer=True, maps=_grad_cam),
}
