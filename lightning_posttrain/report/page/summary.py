"""The page in twenty lines of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightning_posttrain.report.page.sections.counts import Counts
from lightning_posttrain.report.page.sections.in_short import BESIDE, FIRST, Said
from lightning_posttrain.report.page.sources import PAGE, Sources
from lightning_posttrain.report.page.wording import figure, plain

PAIRS, FIGURES, SAID = 4, 4, 8
SPECIAL = frozenset("\\`*_[]<>#|")


def summary(title: str, sources: Sources, findings: Sequence[Said]) -> str:
    """What a comment on a change, or a mail, has room for.

    Args:
        title: of the page.
        sources: files of the stage.
        findings: in the order in which they are told.
    """
    lines = [f"# {escaped(title)}", "", *(f"- {escaped(finding.text)}" for finding in findings[:SAID])]
    for part in (_figures(sources), _pairs(sources)):
        found = list(part)
        lines += ["", *found] if found else []
    return "\n".join([*lines, "", f"The page: [{PAGE}]({PAGE})", ""])


def escaped(text: str) -> str:
    r"""Text as Markdown that shows it as it is, on one line.

    Example:
        >>> escaped("a|b <i>")
        'a\\|b \\<i\\>'
    """
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in " ".join(text.split()))


def _figures(sources: Sources) -> Iterator[str]:
    report = sources.record("classification_report")
    known = [name for name in (*FIRST, *BESIDE) if isinstance(report.get(name), float)][:FIGURES]
    if known:
        yield "| figure | value |"
        yield "|-|-|"
        yield from (f"| {plain(name)} | {figure(report[name])} |" for name in known)


def _pairs(sources: Sources) -> Iterator[str]:
    counts = Counts.beside(sources)
    if counts is None:
        return
    for actual, predicted, count in counts.errors[:PAIRS]:
        names = escaped(counts.names[actual]), escaped(counts.names[predicted])
        yield f"- {names[0]} taken for {names[1]}: {count:,} of {counts.support[actual]:,}"
