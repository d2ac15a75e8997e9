"""The units of what is explained: how values are scaled, named and read."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_posttrain.core.drawing.number_format import number


@dataclass(frozen=True)
class Unit:
    """What values are drawn in.

    Args:
        name: of the unit.
        times: what values are multiplied by.
        moved: what a feature moves.
        title: stands before the name of the class or output.
        right: what it means to be right of the line.
    """

    name: str
    times: float
    moved: str
    title: str = "what speaks for"
    right: str = "the value speaks for the class"

    def short(self, size: float) -> str:
        """A size in so many digits as can be compared.

        Example:
            >>> UNITS["probability"].short(0.02), UNITS["probability"].short(34.6), UNITS["logit"].short(0.02)
            ('<0.1', '35', '0.02')
        """
        if size >= 1e5:
            return powered(size, 2)
        if self.times == 1 or size >= 1000:
            return number(size, 2)
        return "0" if size == 0 else f"{size:.0f}" if size >= 10 else f"{size:.1f}" if size >= 0.05 else "<0.1"


def signed(mark: float) -> str:
    """A round number of a scale with its sign.

    Example:
        >>> signed(0.25), signed(-5e-6), signed(250000.0), signed(0.0)
        ('+0.25', '−5e-6', '+2.5e5', '0')
    """
    sign = "+" if mark > 0 else "−" if mark else ""
    return sign + (powered(abs(mark), 3) if abs(mark) >= 1e5 else powered(abs(mark), 6))


def powered(size: float, digits: int) -> str:
    """So many digits at most, with a short exponent where it is very large or small."""
    text = f"{size:.{digits}g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


UNITS = {
    "probability": Unit("percentage points of probability", 100, "the probability of a class"),
    "logit": Unit("logits", 1, "the logit of a class"),
    "output": Unit("units of the output", 1, "the output", "what raises the", "the value raises the output"),
}
"""By ``unit`` of a result."""
