"""Colours with a meaning: for and against, strength, nothing."""

from __future__ import annotations

from lightning_posttrain.core.drawing.canvas import Color

EMPTY: Color = (236, 237, 239)
FOR, AGAINST, STRENGTH = (214, 69, 65), (58, 116, 190), (243, 146, 44)
