"""What a callback fits on validation: kept in the checkpoint, frozen on test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.statistics.precision import wide
from lightning_posttrain.core.stream.evaluation import Evaluation


class FittedOnValidation(KeptState):
    """For a callback whose ``fitted`` is plain values and tensors, or None while nothing was fitted."""

    fitted: dict[str, Any] | None = None
    _weights: Sequence[float] = ()
    _restored = False

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run."""
        self._restored = False

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Read what was fitted from a checkpoint for a test, which older Lightning gives to no callback."""
        if trainer.state.fn == "test" and trainer.ckpt_path and not self._restored:
            cure = "Run validate before."
            with self.guarded(trainer, "read what was fitted", cure):  # type: ignore[attr-defined]
                states = trainer.strategy.load_checkpoint(trainer.ckpt_path).get("callbacks", {})
                self.load_state_dict(states.get(self.state_key, self.state_dict()))  # type: ignore[attr-defined]
        self._restored = True

    def fits(self, evaluation: Evaluation) -> bool:
        """Whether it is what to fit on: the first of the validation loaders."""
        return evaluation.stage == "val" and not evaluation.suffix

    def keep(self, fitted: dict[str, Any], module: LightningModule) -> None:
        """Keep what was fitted, with a mark of the weights that it was fitted for."""
        self.fitted, self._weights = fitted, _mark(module)

    def for_these(self, module: LightningModule) -> dict[str, Any] | None:
        """What was fitted for these weights; None where nothing was, or for others."""
        pairs = zip(self._weights, _mark(module), strict=False)
        return self.fitted if all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs) else None

    def say_not_fitted(self, evaluation: Evaluation) -> str:
        """Say that nothing was fitted, and how it can be; the reason for the report."""
        kind = type(self).__name__
        nothing = "nothing was fitted on validation" if self.fitted is None else "what was fitted is for other weights"
        if evaluation.stage == "test":
            rank_zero_info(
                f"{kind}: {nothing}, so {evaluation.label} is reported unadjusted. Run fit or validate before with the "
                f"same {kind}, or pass the ckpt_path of a run that had it, saved with its callbacks."
            )
        return nothing

    def kept(self) -> dict[str, Any]:
        """What was fitted."""
        return {} if self.fitted is None else {"fitted": self.fitted, "weights": list(self._weights)}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on with what was fitted."""
        self.fitted, self._weights = state.get("fitted"), state.get("weights", ())
        self._restored = True


def _mark(module: LightningModule) -> list[float]:
    """Sums by which weights are told from others, on whatever device they are."""
    with torch.no_grad():
        values = [wide(p.detach()) for p in module.parameters() if p.is_floating_point() and not p.is_meta]
        sums = [torch.stack([v.abs().sum(), v.square().sum()]) for v in values]
        return torch.stack([each.to(sums[0].device) for each in sums]).cpu().sum(0).tolist() if sums else []
