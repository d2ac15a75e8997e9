"""What it relies on: first how far the maps can be trusted, then the maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_posttrain.report.page.markup import Markup, element
from lightning_posttrain.report.page.pictures import Album
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import folded, table
from lightning_posttrain.report.page.wording import between, figure, percent, sentence

ANCHOR = "relies-on"
CHANCE = ("random", "edge")
MEASURES = ("insertion", "deletion", "infidelity", "max_sensitivity", "randomised_weights")
SHEETS = (
    ("saliency", "Maps of single samples"), ("saliency_of_classes", "Mean maps of classes"),
    ("explanations", "LIME, SHAP and Anchors"), ("explanations/importance", "Importance of features"),
    ("surrogate", "A tree that imitates the model"), ("saliency_over_epochs", "Maps over the epochs"),
    ("feature_maps", "Feature maps"),
)  # fmt: skip
OPEN = {"saliency", "explanations"}


def relies_on(sources: Sources, album: Album) -> Section | None:
    """The verdict, what judged it, and the pictures."""
    saliency, surrogate = sources.record("saliency"), sources.record("surrogate")
    methods = (saliency.get("faithfulness") or {}).get("methods") or {}
    poor = _poor(methods)
    verdicts = [
        *_verdict(methods, poor),
        *_doubts(saliency),
        *_imitated(surrogate),
        *_fit(sources.record("explanations")),
    ]
    body = [element("ul", [element("li", said) for said in verdicts], class_="verdict")] if verdicts else []
    if methods:
        body.append(_measured(methods, saliency["faithfulness"].get("samples")))
    body += _pictures(sources, album, refused=bool(methods) and len(poor) == len(_of_model(methods)))
    return Section(ANCHOR, "What does it rely on?", "Reasons", tuple(body)) if body else None


def _of_model(methods: Mapping[str, Any]) -> list[str]:
    return [name for name in methods if name not in CHANCE]


def _poor(methods: Mapping[str, Any]) -> list[str]:
    """Methods that tell the output no better than chance does."""
    chance = (methods.get("random") or {}).get("insertion")
    if chance is None:
        return []
    found = ((name, methods[name].get("insertion")) for name in _of_model(methods))
    return [name for name, value in found if value is not None and value <= chance]


def _verdict(methods: Mapping[str, Any], poor: list[str]) -> Iterator[str]:
    good = [name for name in _of_model(methods) if name not in poor]
    if good and (methods.get("random") or {}).get("insertion") is not None:
        best = max(good, key=lambda name: methods[name].get("insertion") or 0.0)
        first, chance = methods[best].get("insertion"), methods["random"]["insertion"]
        yield (
            f"{_words(best)} says most of what the model looks at: insertion {figure(first)}, "
            f"a random map {figure(chance)}."
        )
    if poor:
        yield f"Do not read {', '.join(map(_words, poor))}: no better than a random map for this model."


def _doubts(saliency: Mapping[str, Any]) -> Iterator[str]:
    yield from (sentence(str(alarm)) for alarm in saliency.get("alarms") or ())
    for name, reason in (saliency.get("skipped") or {}).items():
        yield sentence(f"{_words(name)} is left out: {reason}")


def _imitated(surrogate: Mapping[str, Any]) -> Iterator[str]:
    if surrogate.get("fidelity") is not None:
        ends = between(surrogate.get("fidelity_low"), surrogate.get("fidelity_high"))
        yield (
            f"A small tree says the same as the model for {percent(surrogate['fidelity'])} of rows ({ends}); "
            f"always saying {surrogate.get('majority_class')!r} would for {percent(surrogate.get('majority'))}."
        )


def _fit(explanations: Mapping[str, Any]) -> Iterator[str]:
    fit = (explanations.get("figures") or {}).get("lime/fit")
    if fit is not None:
        word = "well" if fit >= 0.8 else "only in part" if fit >= 0.5 else "badly"
        yield f"LIME's line follows the model {word} around the samples: R² {figure(fit)}."


def _measured(methods: Mapping[str, Any], samples: int | None) -> Markup:
    columns = [name for name in MEASURES if any(row.get(name) is not None for row in methods.values())]
    rows = [(_words(name), *(figure(row.get(measure)) for measure in columns)) for name, row in methods.items()]
    caption = (
        f"Means over {samples} samples. Of insertion more is better, of deletion and infidelity less; random and edge "
        "know nothing of the model."
    )
    return folded("How the maps were judged", table(("method", *map(_words_low, columns)), rows, caption))


def _pictures(sources: Sources, album: Album, *, refused: bool) -> Iterator[Markup]:
    first = True
    for name, title in SHEETS:
        path = sources.picture(name)
        if path is None:
            continue
        link = element("p", element("a", f"{title}: {path.name}", href=sources.link(path)), class_="quiet")
        picture = album.sheet(path)
        if picture is None:
            yield link
            continue
        image = element("img", src=picture.source, alt=title, width=picture.width, height=picture.height)
        sheet = element("div", element("a", image, href=sources.link(path)), class_="sheet", tabindex=0)
        opened = first and name in OPEN and not (refused and name == "saliency")
        yield element("details", element("summary", title), sheet, open=opened)
        first = first and not opened


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return f"{text[:1].upper()}{text[1:]}".replace("Input x gradient", "Input × gradient").replace(
        "Hirescam", "HiResCAM"
    )


def _words_low(name: str) -> str:
    return name.replace("_", " ")
