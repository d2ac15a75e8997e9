"""The sentences of a stage, the most important first, and the one for the console."""

from __future__ import annotations

from collections.abc import Callable

from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.findings.accuracy import accuracy, values
from lightning_posttrain.report.findings.calibration import adjustment, calibration
from lightning_posttrain.report.findings.classes import classes
from lightning_posttrain.report.findings.cost import size, slowest, unused
from lightning_posttrain.report.findings.ensemble import ensemble
from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.export import export
from lightning_posttrain.report.findings.finding import Finding
from lightning_posttrain.report.findings.labels import label_errors
from lightning_posttrain.report.findings.overused import overused
from lightning_posttrain.report.findings.pairs import confused, pairs
from lightning_posttrain.report.findings.relies_on import explanations, importance, maps, region, surrogate
from lightning_posttrain.report.findings.rows import agreement, left_out
from lightning_posttrain.report.findings.thresholds import abstention, gain
from lightning_posttrain.report.findings.training import overfitting
from lightning_posttrain.report.findings.wording import percent, quoted, rows_of, within

Rule = Callable[[Evidence], Finding | None]
SHOWN = 9
"""Sentences of "in short" that are shown at once; the others are under "more"."""
FIRST: tuple[Rule, ...] = (accuracy, values)
RULES: tuple[Rule, ...] = (
    agreement, left_out, pairs, classes, overused, calibration, adjustment, region, overfitting, label_errors,
    abstention, gain, maps, ensemble, importance, surrogate, explanations, export, unused, slowest, size,
)  # fmt: skip
"""From what matters most to what matters least; what is to be acted on goes before what is good to know."""
FOREIGN = (KeyError, TypeError, ValueError, IndexError, AttributeError)


def findings(folder: RunFolder, stage: str) -> tuple[Finding, ...]:
    """What the files of a stage show, in sentences: how good it is, what to act on, then what is good to know.

    Args:
        folder: of the run.
        stage: as ``"test"``.

    Returns:
        The most important first; the first nine are enough for a glance.
    """
    evidence = Evidence(folder, stage)
    first = [found for rule in FIRST for found in _said(rule, evidence)]
    others = [found for rule in RULES for found in _said(rule, evidence)]
    return (*first, *sorted(others, key=lambda one: (one.level != "warn", one.rule == "agreement")))


def _said(rule: Rule, evidence: Evidence) -> list[Finding]:
    """What a rule says; a record of another form costs its own sentence alone."""
    try:
        found = rule(evidence)
    except FOREIGN as error:
        text = (
            f"Nothing is said of {rule.__name__.replace('_', ' ')}: a record has another form ({type(error).__name__})."
        )
        return [Finding(text, rule.__name__, "info", "how-made")]
    return [] if found is None else [found]


def headline(folder: RunFolder, stage: str) -> str:
    """How good a stage is and what is most confused, in one line for the console.

    Example of a line: ``test: 408 of 720 right (57 %, 53 to 60). Most confused: "cat" as "dog", 18 times.``
    """
    evidence = Evidence(folder, stage)
    try:
        return f"{stage}: {_main(evidence)}"
    except FOREIGN as error:
        return f"{stage}: a record has another form ({type(error).__name__})."


def _main(evidence: Evidence) -> str:
    hits, rows = evidence.hits
    if not rows or not (evidence.report or evidence.matrix):
        said = findings(evidence.folder, evidence.stage)
        return said[0].text if said else "no figures."
    if evidence.dependent:
        return f"{percent(hits / rows)} of {rows:,} positions right."
    share = within(hits / rows, evidence.accuracy_interval, named=False)
    what = f"all labels right in {hits:,} of {rows_of(rows)}" if evidence.labels else f"{hits:,} of {rows:,} right"
    worst = confused(evidence)[:1]
    times = [f" Most confused: {quoted(one.actual)} as {quoted(one.predicted)}, {one.times:,} times." for one in worst]
    return f"{what} ({share}).{''.join(times)}"
