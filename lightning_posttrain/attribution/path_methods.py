"""Methods that average gradients over points: on a way from the baseline, or around the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import GAP, Problem, gap


@final
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """Mean gradient on the way from the baseline (Sundararajan et al., 2017, arXiv:1703.01365).

    By Gauss-Legendre, whose weights add up to 1; what it leaves out of the change is reported. Samples of which that
    is too much get twice the points, and twice again.

    Args:
        steps: points on the way.
        most: points, at most, for those samples of which ``steps`` leave out too much.
    """

    steps: int = 16
    most: int = 128
    name, title, complete, by_row = "integrated_gradients", "Integrated gradients", True, True
    instead = "another baseline, or more points as by IntegratedGradients(most=500)"

    def attribute(self, problem: Problem) -> Tensor:
        """Difference to the baseline times mean gradient."""
        steps, values = self.steps, self._along(problem, self.steps, problem.all)
        while steps < self.most:
            steps = min(2 * steps, self.most)
            short = [row for row, missing in enumerate(gap(values, problem.change).tolist()) if missing > GAP]
            if not 0 < steps * len(short) <= problem.chunks.allows():
                break
            rows = problem.beside(torch.tensor(short))
            values = values.index_copy(0, rows, self._along(problem, steps, rows)[rows])
        return values

    def coarse(self) -> IntegratedGradients:
        """With no more points than it begins with."""
        return replace(self, most=self.steps)

    def _along(self, problem: Problem, steps: int, samples: Tensor) -> Tensor:
        points, weights = np.polynomial.legendre.leggauss(steps)
        # points of the path as a share of the way, in the precision of the inputs
        place = problem.beside(torch.from_numpy((points + 1) / 2).to(problem.inputs.dtype))
        step = problem.inputs - problem.baseline

        def point(steps: Tensor, which: Tensor) -> Tensor:
            return problem.baseline[which] + place[steps].view(-1, *(1,) * (step.ndim - 1)) * step[which]

        return step * problem.mean_gradient(steps, point, torch.from_numpy(weights / 2), samples)


@final
@dataclass(frozen=True)
class SmoothGrad(Method):
    """Mean gradient over noisy copies (Smilkov et al., 2017, arXiv:1706.03825).

    Args:
        draws: noisy copies of each sample; the noise is the same for all samples and epochs.
        noise: its standard deviation as a share of the range of a sample's values.
    """

    draws: int = 16
    noise: float = 0.15
    name, title, signed, by_row = "smoothgrad", "SmoothGrad", False, True

    def attribute(self, problem: Problem) -> Tensor:
        """Mean gradient."""
        flat = problem.inputs.flatten(1)
        spread = self.noise * (flat.amax(1) - flat.amin(1)).view(-1, *(1,) * (problem.inputs.ndim - 1))

        noise = _noise(problem, self.draws)

        def point(draws: Tensor, which: Tensor) -> Tensor:
            return problem.inputs[which] + spread[which] * noise[draws]

        return problem.mean_gradient(self.draws, point, torch.full((self.draws,), 1 / self.draws))


@final
@dataclass(frozen=True)
class GradientShap(Method):
    """Integrated gradients from random inputs to noisy samples (Lundberg and Lee, 2017, arXiv:1705.07874).

    Args:
        draws: pairs of a background input and a share of the way, for each sample.
        noise: standard deviation of the noise as a share of the range of a sample's values.
    """

    draws: int = 32
    noise: float = 0.0
    name, title, valid = "gradient_shap", "Gradient SHAP", "whatever has gradients; an estimate, better with more draws"

    def attribute(self, problem: Problem) -> Tensor:
        """Mean of gradient times difference to a background input."""
        background = problem.inputs if problem.background is None else problem.background
        generator = torch.Generator().manual_seed(problem.seed)
        chosen = problem.beside(torch.randint(len(background), (self.draws,), generator=generator))
        share = problem.beside(torch.rand(self.draws, generator=generator).to(problem.inputs.dtype))
        total = torch.zeros_like(problem.inputs)
        spread = self.noise * (problem.inputs.amax() - problem.inputs.amin())
        count, noise = len(problem), _noise(problem, self.draws)

        def add(rows: Tensor) -> None:
            rows = problem.beside(rows)
            draw, which = rows // count, rows % count
            start = background[chosen[draw]]
            end = problem.inputs[which] + spread * noise[draw]
            leaf = (start + share[draw].view(-1, *(1,) * (start.ndim - 1)) * (end - start)).detach().requires_grad_()
            value = problem.score(leaf.clone(), which)
            problem.need_gradient(value)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
            total.index_add_(0, which, gradient * (end - start) / self.draws)

        problem.chunks.run(self.draws * count, add)
        return total


def _noise(problem: Problem, draws: int) -> Tensor:
    """Standard normal noise ``(draws, ...)`` of the shape of a sample; a draw is the same however many there are."""
    shape, seeds = problem.inputs.shape[1:], (problem.seed + 7919 * draw for draw in range(draws))
    made = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    return problem.beside(made.to(problem.inputs.dtype))
