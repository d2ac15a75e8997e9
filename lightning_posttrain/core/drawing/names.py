"""Names that are too long for their place, cut to what tells each from the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count

from lightning_posttrain.core.drawing.canvas import name_lines, one_line, shorten, width_of

MANY = 200
"""Names that are compared word by word at most; of more, each is cut by itself."""


def told_apart(names: Collection[str], fits: Callable[[str], bool]) -> dict[str, str]:
    """Each name, or as many of its words as fit, of which no other name has all in this order.

    Words that many names have go first, the first word of a name last. Where even that is too long, letters are left
    out in the middle, and a number follows where two became equal.

    Args:
        names: all that stand in one picture.
        fits: whether a text finds room.

    Example:
        >>> names = ["motorcycle (left camera), half", "motorcycle (right camera), half", "a cat, half"]
        >>> list(told_apart(names, lambda text: len(text) <= 20).values())
        ['motorcycle (left …', 'motorcycle (right …', 'a cat, half']
    """
    words = {name: one_line(name).split() for name in names}
    common = Counter(word for each in words.values() for word in dict.fromkeys(each))
    others = list(words.values()) if len(words) <= MANY else []
    found = {}
    for name, own in words.items():
        found[name] = name if fits(name) else _cut(own, common, [each for each in others if each != own], fits)
    times = Counter(found.values())
    used = {short for name, short in found.items() if times[short] == 1 or short == name}
    for name, short in found.items():
        if times[short] > 1 and short != name:
            numbered = (_narrowed(short, fits, f" {number}") for number in count(1))
            found[name] = next(each for each in numbered if each not in used)
            used.add(found[name])
    return found


def _cut(
    words: Sequence[str], common: Counter[str], others: Sequence[Sequence[str]], fits: Callable[[str], bool]
) -> str:
    kept = list(range(len(words)))
    for place in sorted(range(1, len(words)), key=lambda place: (-common[words[place]], -place)):
        fewer = [each for each in kept if each != place]
        if not any(_has_all([words[each] for each in fewer], other) for other in others):
            kept = fewer
        if fits(_joined(words, kept)):
            break
    for length in range(len(words[0]) - 1, 2, -1):
        if fits(_joined(words, kept)):
            break
        words = [f"{words[0][:length].rstrip('…')}…", *words[1:]]
    return _narrowed(_joined(words, kept), fits)


def _has_all(words: Sequence[str], other: Sequence[str]) -> bool:
    """Whether ``words`` come in ``other`` in this order."""
    left = iter(other)
    return all(word in left for word in words)


def _joined(words: Sequence[str], kept: Sequence[int]) -> str:
    """The words that are kept, with … where some are not."""
    parts: list[str] = []
    for place, word in enumerate(words):
        if place in kept:
            parts.append(word)
        elif not parts[-1].endswith("…"):
            parts.append("…")
    # one mark in the middle says enough
    marked = "…" in "".join(parts[:-1])
    return " ".join(parts[:-1] if parts[-1] == "…" and marked else parts).rstrip(",;")


def _narrowed(text: str, fits: Callable[[str], bool], end: str = "") -> str:
    """``text`` with its end, without letters in the middle as far as it takes."""
    if fits(text + end):
        return text + end
    for length in range(len(text) - 1, 1, -1):
        tail = length // 3
        short = f"{text[: length - tail].rstrip()}…{text[len(text) - tail :].lstrip()}{end}"
        if fits(short):
            return short
    return text[:1] + end


def in_line(room: float, size: int) -> Callable[[str], bool]:
    """Whether a text fits in one line."""
    return lambda text: width_of(text, size) <= room


def in_lines(room: float, size: int, most: int) -> Callable[[str], bool]:
    """Whether a text fits in so many lines, broken as ``name_lines`` does."""

    def fits(text: str) -> bool:
        lines = name_lines(text, room, size, most=most)
        return re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", one_line(text))

    return fits


def short_names(names: Sequence[str], room: float, size: int) -> list[str]:
    """Names in one line each; those of many are cut one by one."""
    if len(names) > MANY:
        return [shorten(name, room, size) for name in names]
    found = told_apart(names, in_line(room, size))
    return [found[name] for name in names]
