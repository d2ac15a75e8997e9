"""Attributions of tokens: the words of a text, each on the colour of its attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Pixels, ink_on, one_line, shorten, width_of
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.samples.render.captions import caption
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    ROOM,
    Map,
    cleaned,
    empty,
    leveled,
    map_label,
    reason,
    scale_remark,
    scales,
    shaded,
    sheet,
)
from lightning_posttrain.samples.result import SampleMaps

MOST = 200
SIZE, LINE, PAD = 20, 32, 4


@dataclass(frozen=True)
class Word:
    """A word of a paragraph: its text, where it starts, its line and its width."""

    text: str
    x: float
    line: int
    width: float


@dataclass(frozen=True)
class Text:
    """A sample: which of its tokens are kept, where their words stand, and those white on black."""

    kept: list[int]
    paragraph: list[Word]
    letters: Pixels


def words_image(saliency: SampleMaps, *, title: str = "") -> Image:
    """Draw each text once a method; tokens whose word is ``""`` are padding and left out."""
    texts = [_text(words) for words in _words(saliency)]
    maps = {
        name: [row[text.kept] for row, text in zip(cleaned(values), texts, strict=True)]
        for name, values in saliency.maps.items()
    }
    shown = scales(saliency, maps)
    pieces = []
    for row, text in enumerate(texts):
        pieces.append(caption(saliency.samples[row]))
        for name, values in maps.items():
            pieces += _method(saliency, name, row, text=text, values=values[row], scale=shown[name][row])
        if not maps:
            pieces.append(_paragraph(text, np.full((len(text.kept), 3), 255, np.uint8)))
    said = scale_remark(saliency, shown, "at the right of each text")
    return sheet(saliency, pieces, said, title=title)


def words_pixels(words: Sequence[str], colors: Pixels) -> Pixels:
    """The words of a text, each on its colour ``(T, 3)``; those that are ``""`` are padding and left out."""
    text = _text(words)
    return _paragraph(text, colors[text.kept])


def _words(saliency: SampleMaps) -> Sequence[Sequence[str]]:
    return saliency.words or [[str(token) for token in tokens] for tokens in saliency.shown.tolist()]


def _text(words: Sequence[str]) -> Text:
    kept = [place for place, word in enumerate(words) if word]
    paragraph = laid_out([words[place] for place in kept])
    return Text(kept, paragraph, _letters(paragraph))


def laid_out(words: Sequence[str]) -> list[Word]:
    """The first words in lines as wide as the sheet."""
    placed: list[Word] = []
    x, line = 0.0, 0
    for word in words[:MOST]:
        text = shorten(one_line(word) or "␣", ROOM - 2 * PAD, SIZE)
        width = width_of(text, SIZE) + 2 * PAD
        if x + width > ROOM:
            x, line = 0.0, line + 1
        placed.append(Word(text, x, line, width))
        x += width + 2
    return placed


def _method(saliency: SampleMaps, name: str, row: int, *, text: Text, values: Map, scale: float) -> list[Pixels]:
    head = map_label(saliency, name, row, values=values, scale=scale)
    why = reason(saliency, name, row)
    if why:
        return [head, _boxed(why)]
    return [head, _paragraph(text, shaded(leveled(values, scale), name in saliency.signed)), _rest(values)]


def _rest(values: Map) -> Pixels:
    more = len(values) - MOST
    canvas = Canvas(LINE if more > 0 else 0)
    if more > 0:
        sizes = np.abs(values)
        share = f", with {sizes[MOST:].sum() / sizes.sum():.0%} of the magnitude" if sizes.any() else ""
        canvas.text(EDGE, 2, f"… and {more} more{share}", size=FINE_PRINT, color=PALE)
    return canvas.pixels()


def _boxed(why: str) -> Pixels:
    canvas = Canvas(62)
    canvas.paste(EDGE, 0, empty(why, 54, ROOM))
    return canvas.pixels()


def _letters(paragraph: Sequence[Word]) -> Pixels:
    """The words white on black, drawn once for all methods."""
    canvas = Canvas(LINE * (paragraph[-1].line + 1 if paragraph else 0) + 6, color=(0, 0, 0))
    for word in paragraph:
        y = word.line * LINE + LINE / 2 - 2
        canvas.text(EDGE + word.x + PAD, y, word.text, size=SIZE, anchor="lm", color=(255, 255, 255))
    return canvas.pixels()


def _paragraph(text: Text, colors: Pixels) -> Pixels:
    ground, ink = Canvas(len(text.letters)), Canvas(len(text.letters))
    for word, (red, green, blue) in zip(text.paragraph, colors[:MOST].tolist(), strict=True):
        place = round(EDGE + word.x), word.line * LINE, round(word.width), LINE - 4
        ground.box(*place, (red, green, blue))
        ink.box(*place, ink_on((red, green, blue)))
    opacity, below = text.letters.astype(np.float32) / 255, ground.pixels()
    mixed: Pixels = np.round(below + opacity * (ink.pixels().astype(np.float32) - below)).astype(np.uint8)
    return mixed
