"""Methods that replace the gradient of some functions, and those that read attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution import rules
from lightning_posttrain.attribution.layers import grid_of
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import NotApplicableError, Problem


@final
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """Gradient that stays positive at each ReLU (Springenberg et al., 2014, arXiv:1412.6806).

    Sharp, and much the same for every class and any weights.
    """

    name, title, signed, by_row = "guided_backprop", "Guided backprop", False, True
    valid = "networks with ReLU, as module, function, in place or used twice"
    instead = "SmoothGrad"

    def attribute(self, problem: Problem) -> Tensor:
        """Guided gradient."""
        _see_all(problem)
        return rules.guided_backprop(problem)


@final
@dataclass(frozen=True)
class DeepLift(Method):
    """Differences to the baseline, passed back by slopes (Shrikumar et al., 2017, arXiv:1704.02685), rescale rule."""

    name, title, complete, by_row = "deep_lift", "DeepLIFT", True, True
    valid = "convolutional, residual and transformer networks; not fused recurrent layers"

    def attribute(self, problem: Problem) -> Tensor:
        """Contributions."""
        _see_all(problem)
        return rules.deep_lift(problem)


@final
@dataclass(frozen=True)
class LRP(Method):
    """Layer-wise relevance propagation (Bach et al., 2015, DOI 10.1371/journal.pone.0130140), in its stable rules.

    Args:
        gamma: how much contributions of the output's own sign are favoured; 0 is input times gradient for ReLU.
    """

    gamma: float = 0.25
    name, title, by_row = "lrp", "LRP γ", True
    valid = "convolutional, residual and transformer networks; not recurrent ones"

    def attribute(self, problem: Problem) -> Tensor:
        """Relevance."""
        _see_all(problem)
        return rules.lrp(problem, self.gamma)


@final
@dataclass(frozen=True)
class AttentionRollout(Method):
    """Attention through all layers (Abnar and Zuidema, 2020, arXiv:2005.00928); the same for every class."""

    name, title, signed, one_pass, by_row = "attention_rollout", "Attention rollout", False, True, True
    valid, instead = "transformers whose layers look at the same tokens", "HiResCAM"

    def attribute(self, problem: Problem) -> Tensor:
        """Share of each token."""
        return on_grid(rules.attention_rollout(problem), problem)


@final
@dataclass(frozen=True)
class GradientRollout(Method):
    """Attention times its gradient through all layers (Chefer et al., 2021, arXiv:2103.15679)."""

    name, title, signed, one_pass, by_row = "gradient_rollout", "Gradient rollout", False, True, True
    valid, instead = "transformers whose layers look at the same tokens", "HiResCAM"

    def attribute(self, problem: Problem) -> Tensor:
        """Relevance of each token."""
        return on_grid(rules.gradient_rollout(problem), problem)


def on_grid(tokens: Tensor, problem: Problem) -> Tensor:
    """What belongs to tokens ``(K, T)``, without those before the grid, as maps ``(K, *grid)``."""
    grid = grid_of(tokens.shape[1], problem.spatial)
    if grid is None:
        raise NotApplicableError(f"{tokens.shape[1]} tokens lie on no grid over the input; take hirescam")
    return tokens[:, grid[0] :].reshape(len(tokens), *grid[1])


def _see_all(problem: Problem) -> None:
    """Raise where a part is in TorchScript, of which rules see nothing."""
    parts = problem.module.modules() if isinstance(problem.module, nn.Module) else ()
    if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
        raise NotApplicableError("a part of the model is in TorchScript, to which no rule applies; take SmoothGrad")
