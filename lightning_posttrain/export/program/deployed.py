"""What is shipped decides as what was tested: preprocessing, calibrator and thresholds in one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_posttrain.calibration import Calibrator
from lightning_posttrain.classification import ScoreKind
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.program.refusals import CannotExportError

SCORES_CURE = "Pass forward_fn=lambda module, inputs: ... that gives one tensor of scores."


@final
class Deployed(nn.Module):
    """From raw inputs to probabilities and decisions, all of it exported.

    Scores are ``(N, C, ...)`` of a multiclass task, ``(N, L, ...)`` of labels; of a binary task one a row, ``(N, ...)``
    or ``(N, 1, ...)``, or one for each class, ``(N, 2, ...)``. Probabilities are worked out in float32 at least, and
    given in float32, two columns of a binary task. Decisions are made of the network's own probabilities, as
    thresholds were chosen and tested on these; the probabilities that come out are calibrated.

    Args:
        network: takes tensors, one for each input, and gives scores.
        decision: task, thresholds, least confidence, mean and std; what it says of the calibration is replaced by what
            ``calibrator`` says, but for its rows. Mean and std are of the channels in the second dimension of the first
            input of floats, or of images as bytes.
        scores: whether the network gives ``"logits"`` or ``"probabilities"``.
        calibrator: from logits to logits, or None.
        uint8: whether that input comes as bytes, which are divided by 255.

    Example:
        >>> module = Deployed(nn.Identity(), Decision("multiclass", ("cat", "dog"), confidence=0.9))
        >>> probabilities, decision = module(torch.tensor([[0.0, 4.0], [0.0, 1.0]]))
        >>> probabilities, decision
        (tensor([[0.0180, 0.9820],
                [0.2689, 0.7311]]), tensor([ 1, -1]))
    """

    thresholds: Tensor | None
    confidence: Tensor | None
    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        decision: Decision,
        *,
        scores: ScoreKind = "logits",
        calibrator: Calibrator | None = None,
        uint8: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.calibrator = calibrator
        self.decision = decision
        self.scores: ScoreKind = scores
        self.uint8 = uint8
        least = None if decision.confidence is None else _float32_limits([decision.confidence])
        limits = None if decision.thresholds is None else _float32_limits(decision.thresholds)
        self.register_buffer("confidence", least)
        self.register_buffer("thresholds", limits)
        for name in ("mean", "std"):
            value = getattr(decision, name)
            self.register_buffer(name, None if value is None else torch.tensor(value, dtype=torch.float32))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and decisions of one tensor for each input."""
        return self.head(self.raw_scores(*inputs))

    def raw_scores(self, *inputs: Tensor) -> Tensor:
        """What the network gives for inputs that are prepared for it.

        Raises:
            CannotExportError: it gives no tensor.
        """
        output = self.network(*self._prepared(inputs))
        if not isinstance(output, Tensor):
            raise CannotExportError(f"the network gives a {type(output).__name__}, wanted a tensor", SCORES_CURE)
        return output

    def head(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and decisions of scores, as those that a step gave."""
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.decision.task == "binary" and wide.ndim >= 2 and wide.shape[1] == 1:
            wide = wide.squeeze(1)
        pair = self.decision.task == "multiclass" or (self.decision.task == "binary" and self._has_two_columns(wide))
        own = self._by_class(wide, pair) if self.scores == "logits" else self._columns(1 - wide, wide, pair)
        decision = self._decided(wide, own)
        if self.calibrator is None:
            return own.to(torch.float32), decision
        logits = wide if self.scores == "logits" else wide.log() - (0 if pair else torch.log1p(-wide))
        return self._by_class(self.calibrator(logits), pair).to(torch.float32), decision

    def describe(self) -> Decision:
        """How it decides, in plain values."""
        if self.calibrator is None:
            return replace(self.decision, calibration=None)
        rows = (self.decision.calibration or {}).get("rows")
        return replace(self.decision, calibration={**described(self.calibrator), "rows": rows})

    def _prepared(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Inputs, the first of floats or bytes scaled and normalised."""
        given = list(inputs)
        place = next((i for i, one in enumerate(given) if _is_signal(one, self.uint8)), None)
        if place is None:
            return given
        signal = given[place].to(torch.float32) / 255 if self.uint8 else given[place]
        if self.mean is not None and self.std is not None:
            if signal.ndim < 2 or len(self.mean) not in (1, signal.shape[1]):
                shape = tuple(signal.shape)
                raise ValueError(f"`mean` has {len(self.mean)} numbers, and the input has shape {shape}.")
            shape = (-1, *(1,) * (signal.ndim - 2))
            signal = (signal - self.mean.reshape(shape)) / self.std.reshape(shape)
        given[place] = signal
        return given

    @staticmethod
    def _has_two_columns(scores: Tensor) -> bool:
        return scores.ndim >= 2 and scores.shape[1] == 2

    def _by_class(self, logits: Tensor, pair: bool) -> Tensor:
        if pair:
            return logits.softmax(1)
        return self._columns((-logits).sigmoid(), logits.sigmoid(), pair)

    def _columns(self, of_0: Tensor, of_1: Tensor, pair: bool) -> Tensor:
        """Probabilities as they are given: two columns where a binary task has one score a row."""
        return torch.stack([of_0, of_1], 1) if self.decision.task == "binary" and not pair else of_1

    def _decided(self, scores: Tensor, chance: Tensor) -> Tensor:
        limit = 0.5 if self.thresholds is None else self.thresholds
        if self.decision.task == "multilabel":
            shaped = limit.reshape(-1, *(1,) * (chance.ndim - 2)) if isinstance(limit, Tensor) else limit
            return (chance >= shaped).to(torch.int64)
        label = scores.argmax(1) if self.decision.task == "multiclass" else (chance[:, 1] >= limit).to(torch.int64)
        if self.confidence is None:
            return label
        return torch.where(chance.amax(1) >= self.confidence, label, torch.full_like(label, -1))


def described(calibrator: Calibrator) -> dict[str, Any]:
    """A calibrator in plain values: ``{"method", "words", "parameters"}``."""
    state = calibrator.to_state()
    parameters = {name: state[name].tolist() for name in calibrator.values}
    return {"method": calibrator.method, "words": calibrator.describe(), "parameters": parameters}


def _is_signal(tensor: Tensor, uint8: bool) -> bool:
    return tensor.dtype == torch.uint8 if uint8 else tensor.is_floating_point()


def _float32_limits(values: Sequence[float]) -> Tensor:
    """The smallest float32 at or above each value: a float32 is at or above both or none."""
    exact: Any = torch.tensor(values, dtype=torch.float64)
    near = exact.to(torch.float32)
    return torch.where(near < exact, torch.nextafter(near, torch.full_like(near, torch.inf)), near)
