"""Class activation maps: what a layer's output, and its gradient, say about where."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from lightning_posttrain.attribution.layers import layout, to_maps
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import NotApplicableError, Problem


@dataclass(frozen=True)
class ActivationMap(Method):
    """A method that reads one layer; a member is the formula from its output and gradient to maps."""

    signed: ClassVar[bool] = False
    one_pass: ClassVar[bool] = True
    by_row: ClassVar[bool] = True
    wants: ClassVar[frozenset[str]] = frozenset({"layer"})
    valid: ClassVar[str] = "convolutional networks, and transformers over patches or tokens"

    def attribute(self, problem: Problem) -> Tensor:
        """Maps ``(K, *grid)``."""
        if problem.layer is None:
            raise NotApplicableError("no layer is laid out as the input is; name one with layer=...")
        activation, slope = problem.gradients.activation, problem.gradients.slope
        assert activation is not None
        assert slope is not None
        laid = layout(activation, problem.spatial)
        if laid is None:
            raise NotApplicableError(
                f"the layer {problem.layer} gives {tuple(activation.shape)}, which does not lie over the input; name "
                "another one with layer=..."
            )
        return self.of(to_maps(activation, laid), to_maps(slope, laid))

    @abstractmethod
    def of(self, activation: Tensor, slope: Tensor) -> Tensor:
        """From both ``(K, C, *grid)`` to ``(K, *grid)``."""


@final
@dataclass(frozen=True)
class HiResCAM(ActivationMap):
    """Output times gradient, place by place (Draelos and Carin, 2020, arXiv:2011.08891)."""

    name, title, signed = "hirescam", "HiResCAM", True

    def of(self, activation: Tensor, slope: Tensor) -> Tensor:
        """Sum over channels."""
        return (activation * slope).sum(1)


@final
@dataclass(frozen=True)
class GradCAM(ActivationMap):
    """Output times mean gradient of its channel (Selvaraju et al., 2017, arXiv:1610.02391).

    With a head that is not a mean over places it may show places that the model does not use; see HiResCAM.
    """

    name, title = "gradcam", "Grad-CAM"
    valid = "convolutional networks that end in a mean over places"

    def of(self, activation: Tensor, slope: Tensor) -> Tensor:
        """Positive part of the weighted sum over channels."""
        return (activation * slope.flatten(2).mean(2)[(..., *(None,) * (slope.ndim - 2))]).sum(1).clamp(min=0)


@final
@dataclass(frozen=True)
class GradCAMPlusPlus(ActivationMap):
    """Grad-CAM with weights that favour places of steep score (Chattopadhay et al., 2018, arXiv:1710.11063)."""

    name, title = "gradcam_plus_plus", "Grad-CAM++"
    valid = "convolutional networks that end in a mean over places"

    def of(self, activation: Tensor, slope: Tensor) -> Tensor:
        """Positive part of the weighted sum over channels."""
        grid = (..., *(None,) * (slope.ndim - 2))
        divisor = 2 * slope**2 + activation.flatten(2).sum(2)[grid] * slope**3
        share = (slope**2 / divisor.masked_fill(divisor == 0, 1.0)).masked_fill(slope == 0, 0.0)
        weight = (share * slope.clamp(min=0)).flatten(2).sum(2)[grid]
        return (activation * weight).sum(1).clamp(min=0)


@final
@dataclass(frozen=True)
class LayerCAM(ActivationMap):
    """Output times positive gradient, place by place (Jiang et al., 2021, DOI 10.1109/TIP.2021.3089943)."""

    name, title = "layercam", "LayerCAM"

    def of(self, activation: Tensor, slope: Tensor) -> Tensor:
        """Positive part of the sum over channels."""
        return (activation * slope.clamp(min=0)).sum(1).clamp(min=0)
