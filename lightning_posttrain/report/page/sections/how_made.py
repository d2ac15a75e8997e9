"""How it was made: what ran, with what, what was said meanwhile, and which files there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning_posttrain.core.output.quantities import size_words
from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sources import Sources
from lightning_posttrain.report.page.tables import folded, table
from lightning_posttrain.report.page.wording import sentence

ANCHOR = "how-made"
NOTED = ("classification_report", "confusion_matrix", "score_curves", "hard_examples", "label_errors")
FILES = 40
"""Files of a folder that are listed, at most."""


def how_made(sources: Sources, failed: Sequence[str]) -> Section:
    """Settings, remarks, agreement with the module's own figures, and files.

    Args:
        sources: files of the stage.
        failed: what could not be shown, in sentences.
    """
    problems = [*failed, *(f"{sources.link(path)} cannot be read." for path in dict.fromkeys(sources.unreadable))]
    body = [*_listed("Could not be shown", problems), *_settings(sources.run, sources.stage), *_remarks(sources)]
    return Section(ANCHOR, "How was it made?", "Made", (*body, *_files(sources)))


def _listed(title: str, said: Sequence[str]) -> Iterator[Markup]:
    if said:
        yield element("h3", title)
        yield element("ul", [element("li", text) for text in said], class_="plainly")


def _settings(run: dict[str, Any], stage: str) -> Iterator[Markup]:
    rows = [(name, value) for name, value in _facts(run, stage) if value not in (None, "")]
    if rows:
        yield table(("", ""), rows, "The run", words=2)
    callbacks = run.get("callbacks") or ()
    if callbacks:
        said = [(str(each.get("name")), _arguments(each.get("arguments"))) for each in callbacks]
        yield folded(f"{len(said)} callbacks and their arguments", table(("callback", "arguments"), said, words=2))


def _facts(run: dict[str, Any], stage: str) -> Iterator[tuple[str, Child]]:
    of_stage = (run.get("stages") or {}).get(stage) or {}
    yield "module", run.get("module")
    yield "weights", of_stage.get("weights")
    yield "checkpoint", of_stage.get("checkpoint")
    yield "seed", run.get("seed")
    yield "commit", run.get("git")
    yield "written", str(run.get("updated") or "")[:19].replace("T", " ")
    versions = run.get("versions") or {}
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _arguments(arguments: Any) -> str:
    if isinstance(arguments, dict):
        said = {name: value for name, value in arguments.items() if value is not None and name != "reading"}
        return ", ".join(f"{name}={value!r}" for name, value in said.items())
    return str(arguments or "")


def _remarks(sources: Sources) -> Iterator[Markup]:
    remarks = [str(each.get("text")) for each in sources.run.get("remarks") or () if isinstance(each, dict)]
    yield from _listed("Said in the run", list(dict.fromkeys(remarks)))
    notes = [note for name in NOTED for note in sources.record(name).get("notes") or ()]
    yield from _listed("Beside the figures", list(dict.fromkeys(sentence(str(note)) for note in notes)))


def _files(sources: Sources) -> Iterator[Markup]:
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in sources.files():
        by_folder[path.parent].append(path)
    own = sources.place
    order = sorted(by_folder, key=lambda folder: (own != folder and own not in folder.parents, folder))
    total = sum(map(len, by_folder.values()))
    yield folded(f"{total:,} files of the run", [_folder(sources, folder, by_folder[folder]) for folder in order])


def _folder(sources: Sources, folder: Path, paths: Sequence[Path]) -> Markup:
    name = folder.relative_to(sources.folder.home.parent).as_posix()
    links: list[Child] = []
    for path in paths[:FILES]:
        links += [
            element("a", path.name, href=sources.link(path)),
            element("small", f" {size_words(path.stat().st_size)}  "),
        ]
    more = f"and {len(paths) - FILES:,} more" if len(paths) > FILES else None
    return element("p", element("b", name), element("br"), links, more, class_="files")
