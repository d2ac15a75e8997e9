"""What each level of a network sees: channels of one layer for each resolution, over the epochs."""

from __future__ import annotations

__all__ = []
