"""One page that tells the story of a run, made from the files in its folder alone."""

from __future__ import annotations

__all__: list[str] = []
