"""What a study leaves in its folder: tables, the best settings, pictures, and TensorBoard's HParams tab."""

from __future__ import annotations

from lightning_posttrain.tuning.outputs.write import write_outputs

__all__ = ["write_outputs"]
