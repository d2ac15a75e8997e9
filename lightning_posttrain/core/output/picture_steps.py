"""On which steps loggers get pictures and tables: as many as one looks at, however long a run is."""

from __future__ import annotations

from collections import Counter
from typing import final

STEPS = 20
"""About as many over a run, where nothing else is said."""


@final
class PictureSteps:
    """Chooses steps for each tag, the first always; the last is known when the run is over.

    Example:
        >>> steps = PictureSteps()
        >>> sum(steps.chosen("val/a", None, (epoch + 1) / 1000) for epoch in range(1000))
        21
    """

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._last: dict[str, int] = {}

    def chosen(self, tag: str, every: int | None, progress: float | None) -> bool:
        """Whether a report is one of them.

        Args:
            tag: whose report.
            every: each report whose number is a multiple of it; None: spread over the run.
            progress: of the run, from 0 to 1; None where its length is not known: then all of the first 20, and of
                those up to twice, four times, … as many each second, fourth, … one.
        """
        number = self._count[tag]
        self._count[tag] += 1
        if every is not None:
            part = number // every
        elif progress is not None:
            part = int(progress * STEPS + 1e-9)  # 3 / 20 * 20 may fall short of 3
        else:
            part = number >> (number // STEPS).bit_length()
        if self._last.get(tag) == part:
            return False
        self._last[tag] = part
        return True
