"""Look at them: one gallery of the samples that are worth a look, with filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.pictures import Album, Embedded
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sections.samples import LETTERS, PAIR, Sample, samples_of
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import folded, table
from lightning_posttrain.report.page.wording import figure, percent

ANCHOR = "look-at-them"
MOST = 160
SHEETS = ("highest_loss", "confident_errors", "confused_pairs")
SUSPECTS = 50
BEGINNING = 220


def look_at_them(sources: Sources, album: Album) -> Section | None:
    """The gallery; of inputs without a picture of their own, their words, their values, or sheets of pictures."""
    every = samples_of(sources)
    samples = [sample for sample in every if sample.shows][:MOST]
    body = [*_gallery(sources, samples, album), *_sheets(sources, album, shown=bool(samples)), *_suspects(sources)]
    if not body:
        return None
    if len(every) > len(samples):
        link = element("a", "hard_examples.csv", href=sources.link(sources.beside("hard_examples").with_suffix(".csv")))
        body.append(element("p", f"{len(every) - len(samples):,} more in ", link, class_="quiet"))
    lead = "Open one to see it large, with what else the model thought of; arrows lead to the next." if samples else ""
    names = [str(name) for name in sources.record("confusion_matrix").get("class_names") or ()]
    maps = [sample.get("index") for sample in sources.record("saliency").get("samples") or ()]
    data = {"samples": [_data(sample) for sample in samples], "names": names, "maps": maps}
    return Section(ANCHOR, "Look at them", "Samples", tuple(body), lead, data)


def _gallery(sources: Sources, samples: Sequence[Sample], album: Album) -> Iterator[Markup]:
    if not samples:
        return
    wanted = [(sample, name, path) for sample in samples for name, path in sample.pictures.items()]
    embedded = dict(zip(((id(s), name) for s, name, _ in wanted), album.samples([p for *_, p in wanted]), strict=True))
    drawn = sum(picture is not None for picture in embedded.values())
    yield _filters(samples)
    shown = []
    for place, sample in enumerate(samples):
        pictures = {name: picture for name in sample.pictures if (picture := embedded[id(sample), name])}
        shown.append(_shown(sample, place, pictures))
    wide = any(len(sample.pictures) > 1 for sample in samples)
    yield element("div", shown, class_="gallery wide" if wide else "gallery", id="gallery")
    yield element("button", "Show all", type="button", id="all-samples", class_="tag", hidden=True)
    yield element("p", "No sample fits these filters.", id="none-fits", class_="quiet", hidden=True)
    if drawn < len(wanted):
        folder = sources.link(sources.beside("hard_examples"))
        yield element(
            "p", f"{len(wanted) - drawn:,} more pictures in ", element("a", folder, href=folder), class_="quiet"
        )


def _filters(samples: Sequence[Sample]) -> Markup:
    tags = Counter(tag for sample in samples for tag in sample.tags)
    buttons = [_button("all", len(samples), pressed=True)]
    buttons += [_button(tag, count) for tag, count in tags.items() if tag != PAIR or len(tags) > 1]
    pairs = Counter(
        (str(sample.known.get("actual")), str(sample.known.get("predicted")))
        for sample in samples if not sample.right and sample.known.get("actual")
    )  # fmt: skip
    options = [element("option", "any pair", value="")]
    options += [
        element("option", f"{actual} taken for {predicted} ({count})", value=f"{actual}\n{predicted}")
        for (actual, predicted), count in pairs.most_common(100)
    ]
    chosen = element("label", "Pair ", element("select", options, id="pair")) if pairs else None
    return element(
        "div", element("div", buttons, class_="tags", role="group", aria_label="Filters"), chosen, class_="tools"
    )


def _button(tag: str, count: int, *, pressed: bool = False) -> Markup:
    pressed_ = "true" if pressed else "false"
    number = element("small", f" {count}")
    return element("button", tag, number, type="button", data_tag=tag, aria_pressed=pressed_, class_="tag")


def _shown(sample: Sample, place: int, pictures: Mapping[str, Embedded]) -> Markup:
    """A sample as a tile that opens."""
    inside: list[Child] = [_picture(name, one, sample) for name, one in pictures.items()]
    text = sample.known.get("text")
    if text:
        inside.append(element("span", text[:BEGINNING] + ("…" if len(text) > BEGINNING else ""), class_="words"))
    if sample.values and not pictures:
        pairs = [(element("span", name), element("span", _short(value))) for name, value in sample.values[:5]]
        inside.append(element("span", pairs, class_="values"))
    opener = element("button", inside, type="button", class_="open", aria_label=f"Open sample {_number(sample)}")
    return element(
        "figure", opener, element("figcaption", *_caption(sample)),
        data_at=place, data_tags="\n".join(sample.tags), data_actual=str(sample.known.get("actual") or ""),
        data_predicted=str(sample.known.get("predicted") or ""),
    )  # fmt: skip


def _picture(name: str, picture: Embedded, sample: Sample) -> Markup:
    crisp = "crisp" if max(picture.width, picture.height) <= 96 else None
    said = f"sample {_number(sample)}" + (f", {name}" if name else "")
    image = element("img", src=picture.source, alt=said, width=picture.width, height=picture.height, class_=crisp)
    label = element("small", name.replace("_", " ") or "input") if len(sample.pictures) > 1 else None
    return element("span", image, label, class_="pane")


def _caption(sample: Sample) -> Iterator[Child]:
    known = sample.known
    actual, predicted = str(known.get("actual") or ""), str(known.get("predicted") or "")
    if not actual:
        yield element("span", predicted, class_="names")
    elif sample.right:
        yield element("span", actual, class_="names")
    else:
        yield element("span", actual, class_="names")
        yield element("span", element("span", "→ ", class_="quiet"), element("b", predicted), class_="names")
    yield element("small", " · ".join(_facts(sample)))
    if sample.suggested:
        same = sample.suggested == predicted
        yield element("small", "label?" if same else f"label? perhaps {sample.suggested}", class_="look")


def _facts(sample: Sample) -> Iterator[str]:
    if sample.index is not None:
        yield f"#{sample.index}"
    if sample.known.get("probability") is not None:
        yield f"sure {percent(sample.known['probability'])}"
    if sample.known.get("loss") is not None:
        yield f"loss {sample.known['loss']:.2f}"


def _data(sample: Sample) -> dict[str, Any]:
    text = sample.known.get("text")
    return {
        "index": sample.index,
        "top": [[name, round(share, 4)] for name, share in sample.top],
        "values": [[name, _short(value)] for name, value in sample.values],
        "text": text[:LETTERS] if text else None,
    }


def _number(sample: Sample) -> str:
    return "" if sample.index is None else f"#{sample.index}"


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _sheets(sources: Sources, album: Album, *, shown: bool) -> Iterator[Markup]:
    """Sheets of what is neither a picture by itself nor words, as series."""
    for name in () if shown else SHEETS:
        path = sources.picture(f"hard_examples/{name}")
        picture = album.sheet(path) if path is not None else None
        if path is not None and picture is not None:
            image = element(
                "img", src=picture.source, alt=name.replace("_", " "), width=picture.width, height=picture.height
            )
            title = element("summary", name.replace("_", " ").capitalize())
            yield element("details", title, element("div", image, class_="sheet", tabindex=0), open=name == SHEETS[0])


def _suspects(sources: Sources) -> Iterator[Markup]:
    suspects = sources.record("label_errors").get("suspects") or ()
    if suspects:
        rows = [
            (f"#{each.get('index')}", each.get("label"), each.get("suggested"), figure(each.get("score")))
            for each in suspects[:SUSPECTS]
        ]
        found = table(
            ("sample", "label", "perhaps", "label score"), rows, "The lower the score, the less the label fits", words=3
        )
        yield folded(f"{len(rows)} labels to check, the least likely first", found)
