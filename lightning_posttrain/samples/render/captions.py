"""What is known of an explained sample, above its maps."""

from __future__ import annotations

from lightning_posttrain.core.drawing.canvas import INK, PALE, Canvas, Color, Pixels, shorten, width_of
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.samples.render.sheet import EDGE, RIGHT, ROOM, SMALL, WRONG, whole
from lightning_posttrain.samples.result import Sample

LINE = 26


def caption(sample: Sample, base: str = "with all parts hidden") -> Pixels:
    """What is known of a sample, green where it was predicted right, red where not; how far to trust its maps.

    Args:
        sample: which.
        base: when the output is ``sample.baseline``, where that is of perturbed inputs.
    """
    heading, color = headline(sample)
    lines = [(line, tint) for text, tint in _below(sample, base) for line in whole(text, ROOM, SMALL)]
    canvas = Canvas(4 + 30 * len(heading) + LINE * len(lines))
    for place, text in enumerate(heading):
        canvas.text(EDGE, 26 + 30 * place, text, anchor="ls", color=color)
    for place, (text, tint) in enumerate(lines):
        canvas.text(EDGE, 22 + 30 * len(heading) + LINE * place, text, size=SMALL, anchor="ls", color=tint)
    return canvas.pixels()


def headline(sample: Sample) -> tuple[list[str], Color]:
    """The line above a sample, two where it is long, and its colour."""
    at = "" if sample.index is None else f"#{sample.index}  "
    actual = "" if sample.actual is None else f"actual {sample.actual}"
    if sample.predicted is None:
        return _lines(f"{at}{sample.explained} {number(sample.value)}", actual), INK
    sure = "" if sample.probability is None else f" ({percent(sample.probability)})"
    room = ROOM - width_of(f"{at}predicted {sure}, ")
    lines = _lines(f"{at}predicted {shorten(sample.predicted, room)}{sure}", actual)
    if sample.actual is None:
        return lines, INK
    return lines, RIGHT if sample.actual == sample.predicted else WRONG


def _lines(first: str, second: str) -> list[str]:
    joined = f"{first}, {second}" if second else first
    if width_of(joined) <= ROOM or not second:
        return [shorten(joined, ROOM)]
    return [shorten(f"{first},", ROOM), shorten(second, ROOM)]


def _below(sample: Sample, base: str) -> list[tuple[str, Color]]:
    """Texts below the headline, and their colours."""
    other = sample.predicted is not None and sample.explained != sample.predicted
    said = [(f"explained: {sample.explained}", INK)] if other else []
    said += [] if sample.baseline is None else [(_sum(sample, sample.baseline, base), PALE)]
    return [*said, *((text, PALE) for text in sample.remarks), *((text, WRONG) for text in sample.doubts)]


def _sum(sample: Sample, baseline: float, base: str) -> str:
    """What the values of a map add up to."""
    if sample.unit == "probability":
        # of what is written, so that it adds up
        points = 100 * (round(sample.value, 3) - round(baseline, 3))
        way = f"{_sign(points)} {abs(points):.1f} points"
        return f"{percent(sample.value)} = {percent(baseline)} {base} {way} (SHAP)"
    change = sample.value - baseline
    way = f"{_sign(change)} {number(abs(change))}"
    if not sample.unit:
        return f"score {number(sample.value)} = {number(baseline)} without the input {way} in the maps"
    unit = "logit " if sample.unit == "logit" else ""
    return f"{unit}{number(sample.value)} = {number(baseline)} {base} {way} (SHAP)"


def _sign(change: float) -> str:
    return "−" if change < 0 else "+"


def percent(probability: float) -> str:
    """A probability, with no 100 % where it is not 1.

    Example:
        >>> percent(0.5), percent(0.99999), percent(1.0)
        ('50.0%', '>99.9%', '100.0%')
    """
    return ">99.9%" if 0.9995 <= probability < 1 else f"{probability:.1%}"
