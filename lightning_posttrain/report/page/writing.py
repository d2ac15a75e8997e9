"""The page and its summary, written beside the files that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from lightning_posttrain.core.output.artifacts import File, Tagged
from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.report.page.document import document
from lightning_posttrain.report.page.markup import element
from lightning_posttrain.report.page.pictures import Album
from lightning_posttrain.report.page.section import Section
from lightning_posttrain.report.page.sections.believed import believed
from lightning_posttrain.report.page.sections.classes import classes
from lightning_posttrain.report.page.sections.cost import cost
from lightning_posttrain.report.page.sections.ensemble import ensemble
from lightning_posttrain.report.page.sections.export import export
from lightning_posttrain.report.page.sections.goes_wrong import goes_wrong
from lightning_posttrain.report.page.sections.head import head, title_of
from lightning_posttrain.report.page.sections.how_made import ANCHOR as HOW_MADE
from lightning_posttrain.report.page.sections.how_made import how_made
from lightning_posttrain.report.page.sections.in_short import Said, in_short
from lightning_posttrain.report.page.sections.look_at_them import look_at_them
from lightning_posttrain.report.page.sections.relies_on import relies_on
from lightning_posttrain.report.page.sections.training import training
from lightning_posttrain.report.page.sources import PAGE, Sources
from lightning_posttrain.report.page.summary import summary

SAMPLES, SHEETS = 1_300_000, 900_000
"""Bytes of the page for pictures of samples, and for sheets of pictures."""
Made = TypeVar("Made")
Findings = Callable[[RunFolder, str], Sequence[Said]]


def write_report(folder: RunFolder, stage: str, findings: Findings) -> Path:
    """Write ``report.html`` and ``report.md`` of a stage.

    Args:
        folder: of the run.
        stage: as ``"test"``.
        findings: says in sentences what is to be known of a stage.

    Returns:
        The page's path.

    Raises:
        NotOurs: another file, or a link, is in its place.
        OSError: it cannot be written.
    """
    sink = FolderSink(folder.home)
    for tagged in artifacts(folder, stage, findings):
        sink.write(f"{stage}/{tagged.tag}", tagged.artifact, 0)
    sink.end()
    return folder.home / stage / PAGE


def artifacts(folder: RunFolder, stage: str, findings: Findings) -> tuple[Tagged, Tagged]:
    """The summary and the page as files.

    Args:
        folder: of the run.
        stage: as ``"test"``.
        findings: says in sentences what is to be known of a stage.
    """
    page, text = report(folder, stage, findings)
    return (
        Tagged("report", File(text.encode(errors="backslashreplace"), ".md")),
        Tagged("report", File(page, ".html")),
    )


def report(folder: RunFolder, stage: str, findings: Findings) -> tuple[bytes, str]:
    """The page and its summary.

    A section that fails is left out, and named where it is told how the page was made.

    Args:
        folder: of the run.
        stage: as ``"test"``.
        findings: says in sentences what is to be known of a stage.
    """
    sources, attempt = Sources(folder, stage), Attempt()
    said = attempt("the findings", lambda: tuple(findings(folder, stage))) or ()
    samples, sheets = Album(SAMPLES), Album(SHEETS)
    parts: dict[str, Callable[[], Section | None]] = {
        "what goes wrong": lambda: goes_wrong(sources),
        "the samples": lambda: look_at_them(sources, samples),
        "the classes": lambda: classes(sources),
        "whether it can be believed": lambda: believed(sources),
        "what it relies on": lambda: relies_on(sources, sheets),
        "the ensemble": lambda: ensemble(sources),
        "the cost": lambda: cost(sources),
        "the export": lambda: export(sources),
        "training": lambda: training(sources),
    }
    found = [section for name, part in parts.items() if (section := attempt(name, part)) is not None]
    anchors = [*(section.anchor for section in found), HOW_MADE]
    first = attempt("the first figures", lambda: in_short(sources, said, anchors))
    title = f"{title_of(sources)} · {stage}"
    above = attempt("the title", lambda: head(sources)) or element("header", element("h1", title))
    sections = [*([] if first is None else [first]), *found, how_made(sources, attempt.failed)]
    text = attempt("the summary", lambda: summary(title, sources, said)) or f"# {title}\n"
    return document(title, above, sections), text


class Attempt:
    """Does one thing after the other, and keeps in words what could not be done.

    Attributes:
        failed: what that was, and why, a sentence each.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []

    def __call__(self, name: str, part: Callable[[], Made]) -> Made | None:
        """What ``part`` gives; None where it raises, as the files of a run may hold anything."""
        try:
            return part()
        except Exception as error:
            self.failed.append(f"{name[:1].upper()}{name[1:]}: {type(error).__name__}, {first_line(error)}.")
            return None
