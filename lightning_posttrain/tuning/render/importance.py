"""Shares of the parameters as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.drawing.canvas import TEXT, WIDTH, Canvas, width_of
from lightning_posttrain.core.drawing.number_format import share, share_bar
from lightning_posttrain.core.drawing.sheet import EDGE, HEAD, sheet
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.tuning.render.scale import COMPLETE

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study

ROW, BAR, NAMES, NUMBER = 46, 26, 290, 76


def importance_image(study: Study) -> Image:
    """Draw how much each parameter tells the best trials from the others; the bars add up to 100 %.

    Args:
        study: with importance.
    """
    shares = study.importance or {}
    room = min(NAMES, max((width_of(name) for name in shares), default=0.0))
    left = round(EDGE + room + 12)
    wide = WIDTH - left - NUMBER - EDGE

    def draw(canvas: Canvas) -> None:
        for number, (name, part) in enumerate(shares.items()):
            middle = HEAD + number * ROW + ROW / 2
            canvas.name(left - 12, middle, name, NAMES, size=TEXT if width_of(name) <= NAMES else 18)
            share_bar(canvas, (left, round(middle - BAR / 2), wide, BAR), part, COMPLETE)
            canvas.text(WIDTH - EDGE, middle, share(part), anchor="rm")

    done = len(study.ranked)
    return sheet(
        f"{study.name} · importance of parameters", f"for {study.monitor}, {done} complete trials",
        ROW * len(shares) + 8, draw, note=_note(done),
    )  # fmt: skip


def _note(done: int) -> str:
    few = " With fewer than 50 trials it is rough." if done < 50 else ""
    return f"Share of each in what tells the best trials from all (PED-ANOVA).{few}"
