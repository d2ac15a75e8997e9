"""What a callback fits on validation: kept in the checkpoint, frozen on test."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from lightning_posttrain.evaluation import Evaluation


class FittedOnValidation:
    """For a callback whose ``fitted`` is plain values and tensors, or None while nothing was fitted."""

    name: str | None
    fitted: dict[str, Any] | None = None

    def fits(self, evaluation: Evaluation) -> bool:
        """Whether it is what to fit on: the first of the validation loaders."""
        return evaluation.stage == "val" and not evaluation.suffix

    def say_not_fitted(self, evaluation: Evaluation) -> str:
        """Say that nothing was fitted, and how it can be; the reason for the report."""
        kind = type(self).__name__
        if evaluation.stage == "test":
            rank_zero_info(
                f"{kind} has fitted nothing on validation, so {evaluation.key} is reported unadjusted. Run fit or "
                f"validate before with the same {kind}, or pass the ckpt_path of a run that had it."
            )
        return "nothing was fitted on validation"

    def state_dict(self) -> dict[str, Any]:
        """What was fitted."""
        return {} if self.fitted is None else {"fitted": self.fitted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was fitted."""
        self.fitted = state_dict.get("fitted")

    @property
    def state_key(self) -> str:
        """Tells two of a kind apart in a checkpoint."""
        key: str = self._generate_state_key(name=self.name)  # type: ignore[attr-defined]
        return key
