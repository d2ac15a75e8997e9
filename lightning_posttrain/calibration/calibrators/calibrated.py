"""A network whose outputs are calibrated."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.classification import ScoreKind


@final
class Calibrated(nn.Module):
    """A network with a calibrator behind it, for deployment: it gives what the network gives, calibrated.

    Args:
        network: gives scores as the calibrator takes them.
        calibrator: what stands behind it.
        scores: whether the network gives ``"logits"`` or ``"probabilities"``; this gives the same.

    Example:
        >>> import torch
        >>> from lightning_posttrain.calibration.calibrators.scaling import TemperatureScaling
        >>> network = Calibrated(nn.Identity(), TemperatureScaling(2.0, "multiclass"))
        >>> network(torch.tensor([[4.0, 0.0]])).tolist()
        [[2.0, 0.0]]
    """

    def __init__(self, network: nn.Module, calibrator: Calibrator, *, scores: ScoreKind = "logits") -> None:
        super().__init__()
        self.network = network
        self.calibrator = calibrator
        self.scores: ScoreKind = scores

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Calibrated scores."""
        output = self.network(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise TypeError(f"the network gives a {type(output).__name__}, wanted a tensor of scores. Wrap it so.")
        if self.scores == "logits":
            return self.calibrator(output)  # type: ignore[no-any-return]
        whole = self.calibrator.task == "multiclass" or (output.ndim >= 2 and output.shape[1] == 2)
        if self.calibrator.task != "multilabel" and whole:
            return self.calibrator(output.log()).softmax(1)  # type: ignore[no-any-return]
        return self.calibrator(output.logit()).sigmoid()  # type: ignore[no-any-return]
