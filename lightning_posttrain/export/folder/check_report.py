"""What a check of an exported folder found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.export.parity.counts import ParityCounts


@final
@dataclass(frozen=True)
class FormatCheck:
    """One format on the rows.

    Args:
        format: its name.
        counts: its answers beside those that it was compared with; no rows where there is nothing to compare with.
        figures: ``accuracy`` and ``log_loss``, where the data have targets.
        ok: whether it is close enough.
    """

    format: str
    counts: ParityCounts
    figures: Mapping[str, float]
    ok: bool


@final
@dataclass(frozen=True)
class CheckReport:
    """What a check of an exported folder found; it prints as a table.

    Args:
        rows: of all files.
        against: what the formats were compared with: ``"data"``, the name of the first format, or both.
        formats: that were run.
        left_out: why others of the folder were not.
        tested: by stage, the figures of the manifest, as of ``Manifest.metrics``, that were found here too.
    """

    rows: int
    against: tuple[str, ...]
    formats: tuple[FormatCheck, ...]
    left_out: tuple[str, ...]
    tested: Mapping[str, Mapping[str, Any]]

    @property
    def ok(self) -> bool:
        """Whether every format that was run gives the answers that are wanted."""
        return all(found.ok for found in self.formats)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(report: CheckReport) -> Iterator[str]:
    yield f"{report.rows:,} {'row' if report.rows == 1 else 'rows'}, every file as it was written"
    names = list(dict.fromkeys(name for found in report.formats for name in found.figures))
    head = ["format", "compared with", "largest difference", "flipped", *(name.replace("_", " ") for name in names), ""]
    rows = [[*_compared(report, found), *_figures(found, names), _ok(found)] for found in report.formats]
    for stage, tested in report.tested.items():
        rows.append([f"tested ({stage})", "", "", "", *(_tested(tested.get(name)) for name in names), ""])
    said = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
    yield from in_columns(list(zip(*said, strict=True)))
    yield from report.left_out
    if not any(found.counts.rows for found in report.formats):
        yield "nothing to compare with: give `probabilities` and `decision` in the data"


def _compared(report: CheckReport, found: FormatCheck) -> list[str]:
    counts = found.counts
    if not counts.rows:
        return [found.format, "", "", ""]
    largest = f"{counts.largest:.2g}" if counts.values else ""
    flipped = f"{counts.flips:,} of {counts.decisions:,}" if counts.decisions else ""
    flipped += ", ties" if counts.flips and not counts.no_ties else ""
    return [found.format, " and ".join(report.against), largest, flipped]


def _figures(found: FormatCheck, names: Sequence[str]) -> list[str]:
    return [f"{found.figures[name]:.4f}" if name in found.figures else "" for name in names]


def _tested(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    low, high = figure.get("low"), figure.get("high")
    between = "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"
    return f"{figure['value']:.4f}{between}"


def _ok(found: FormatCheck) -> str:
    return ("ok" if found.ok else "NOT THE SAME") if found.counts.rows else "runs"
