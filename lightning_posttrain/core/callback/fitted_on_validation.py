"""What a callback fits on validation: kept in the checkpoint, frozen on test."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_posttrain.core.callback.kept_form import dict_of, on_cpu
from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.statistics.precision import wide
from lightning_posttrain.core.stream.evaluation import Evaluation


class FittedOnValidation(KeptState):
    """For a callback whose ``fitted`` is plain values and tensors, or None while nothing was fitted."""

    keeps = "what was fitted on validation"
    regained = "Run validate, which fits anew, before test."
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

    @abstractmethod
    def columns(self, fitted: dict[str, Any]) -> int | None:
        """How many classes or labels it is for; None where it goes with any number.

        Raises:
            ValueError: it is nothing that was fitted.
        """

    def for_these(self, module: nn.Module, columns: int | None = None) -> dict[str, Any] | None:
        """What was fitted for these weights and so many classes or labels; None where nothing was, or for others."""
        if self.fitted is None or self._other_columns(columns):
            return None
        pairs = zip(self._weights, _mark(module), strict=False)
        return self.fitted if all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs) else None

    def _other_columns(self, columns: int | None) -> bool:
        found = None if self.fitted is None else self.columns(self.fitted)
        return None not in (found, columns) and found != columns

    def say_not_fitted(self, evaluation: Evaluation, columns: int | None = None) -> str:
        """Say that nothing was fitted, and how it can be; the reason for the report."""
        kind = type(self).__name__
        nothing = "nothing was fitted on validation" if self.fitted is None else "what was fitted is for other weights"
        if self._other_columns(columns):
            nothing = f"what was fitted is for {self.columns(self.fitted or {})} classes and there are {columns}"
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
        fitted, weights = None, []
        if state:
            fitted = on_cpu(dict_of(state.get("fitted"), "'fitted'"))
            weights = _weights(state)
            self.columns(fitted)
        self.fitted, self._weights = fitted, weights
        self._restored = True


def _weights(state: dict[str, Any]) -> list[float]:
    """The marks of the weights, two of any module that has some."""
    found = state.get("weights")
    if not isinstance(found, (list, tuple)) or not all(type(value) in (int, float) for value in found):
        raise ValueError(f"'weights' is {found!r}, wanted a list of numbers.")
    if len(found) not in (0, 2):
        raise ValueError(f"'weights' has {len(found)} numbers, wanted 2.")
    return list(found)


def _mark(module: nn.Module) -> list[float]:
    """Sums by which weights are told from others, on whatever device they are."""
    with torch.no_grad():
        values = [wide(p.detach()) for p in module.parameters() if p.is_floating_point() and not p.is_meta]
        sums = [torch.stack([v.abs().sum(), v.square().sum()]) for v in values]
        return torch.stack([each.to(sums[0].device) for each in sums]).cpu().sum(0).tolist() if sums else []
