"""A run in the terminal: what its files show in sentences, and its main figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from os import PathLike

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.findings import SHOWN, Finding, findings, headline

WIDTH = 100
MARKS = {"warn": "!", "good": "+", "info": "-"}
FIGURES = (
    "accuracy", "balanced_accuracy", "f1", "f1_macro", "mcc", "hamming_loss", "top_5_accuracy", "auroc", "auroc_macro",
    "average_precision", "average_precision_macro", "log_loss", "brier", "ece",
)  # fmt: skip
"""What the table has, where a report has it."""


def show_command(run: str | PathLike[str], *, stage: str | None = None, everything: bool = False) -> tuple[int, str]:
    """What a run's files show, for a terminal.

    Args:
        run: its folder, as ``trainer.log_dir``.
        stage: as ``"val"``. Default: the test, or validation where there is none.
        everything: all sentences; else the most important ones.

    Returns:
        0 and the text, or 2 and what is wrong with ``run`` or ``stage``.
    """
    try:
        folder = RunFolder(run)
        chosen = _stage(folder, stage)
    except ValueError as error:
        return 2, str(error)
    return 0, "\n".join(_lines(folder, chosen, everything=everything))


def _stage(folder: RunFolder, wanted: str | None) -> str:
    if not folder.stages:
        raise ValueError(f"{str(folder.home)!r} has no figures of a stage; wanted a run that was validated or tested.")
    if wanted is not None and wanted not in folder.stages:
        raise ValueError(f"`stage` is {wanted!r}; {str(folder.home)!r} has {', '.join(folder.stages)}.")
    return wanted or folder.stages[0]


def _lines(folder: RunFolder, stage: str, *, everything: bool) -> Iterator[str]:
    found = findings(folder, stage)
    shown = found if everything else found[:SHOWN]
    said = headline(folder, stage)
    repeated = bool(found) and said.endswith(found[0].text)
    yield from _wrapped(f"{stage}:" if repeated else said, "")
    yield ""
    for one in shown:
        yield from _wrapped(_said(one), f"{MARKS[one.level]} ")
    if len(found) > len(shown):
        yield f"  and {len(found) - len(shown)} more: --all"
    table = _table(folder, stage)
    yield from ["", *table] if table else []
    yield ""
    yield from _where(folder, stage)


def _said(one: Finding) -> str:
    return one.text if one.file is None else f"{one.text} [{one.file}]"


def _wrapped(text: str, mark: str) -> list[str]:
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark), break_long_words=False
    )
    # a number stays beside its sign
    return [line.replace("\u00a0%", " %") for line in wrapper.wrap(text.replace(" %", "\u00a0%"))]


def _table(folder: RunFolder, stage: str) -> list[str]:
    """The main figures with their 95 % intervals, where there are any."""
    report = folder.record(stage, "classification_report") or {}
    ends = report.get("intervals") or {}
    rows = []
    for name in FIGURES:
        value, interval = report.get(name), ends.get(name) or ()
        if isinstance(value, (int, float)):
            known = len(interval) == 2 and None not in interval
            within = "{:.4f} to {:.4f}".format(*interval) if known else ""
            rows.append([name.replace("_", " "), f"{value:.4f}", within])
    return (
        in_columns([["", "", "95 % interval" if any(row[2] for row in rows) else ""], *rows], right={1}) if rows else []
    )


def _where(folder: RunFolder, stage: str) -> Iterator[str]:
    page = folder.home / stage / "report.html"
    others = [name for name in folder.stages if name != stage]
    yield f"Report: {page}" if page.is_file() else f"Report: lightning-posttrain report {folder.home.parent}"
    yield f"Files:  {folder.home / stage}"
    if others:
        yield f"Also:   --stage {' or '.join(others)}"
