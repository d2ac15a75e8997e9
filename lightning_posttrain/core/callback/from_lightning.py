"""What rooms without Lightning take of it: what is said on the first rank, and isolated random numbers."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng

__all__ = ["isolate_rng", "rank_zero_info"]
