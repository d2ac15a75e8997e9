"""Parity again, elsewhere: an exported folder on the rows of files, on this machine and with its runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.check_report import CheckReport, FormatCheck
from lightning_posttrain.export.folder.data import TARGET, Rows, files_of, rows_of
from lightning_posttrain.export.folder.running import FILES
from lightning_posttrain.export.folder.target_figures import TargetFigures
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity.counts import ParityCounts
from lightning_posttrain.export.parity.margins import margins
from lightning_posttrain.export.parity.tolerance import CHANGE, LARGEST
from lightning_posttrain.export.predictor import Predictor, check_files
from lightning_posttrain.export.signature import DECISION, PROBABILITIES, Array

TOLERANCE = LARGEST["float32"]
"""Largest difference of a probability; float32 differs by up to 1e-5 from one kernel or batch size to another."""
INT8_FLIPS = CHANGE["int8"]
"""Share of decisions that may flip in int8, whose probabilities are not held to a tolerance."""


def check(folder: str | Path, data: Sequence[str | Path], *, tolerance: float = TOLERANCE) -> CheckReport:
    """Run every format of an exported folder on rows of files, and compare the answers.

    They are compared with ``probabilities`` and ``decision`` of the data where these have them, else with the first
    format of the folder. A format passes where no probability differs by more than ``tolerance`` and no decision flips,
    but for ties as ``ParityCounts`` has them; int8, where at most 1 % of decisions flip. Of calibrated models each flip
    counts: ties show in the probabilities before calibration alone. Where the data have a ``target``, accuracy and log
    loss are shown beside those of the manifest; they decide nothing, as the rows may be others.

    Args:
        folder: of the export; its files are checked first.
        data: ``.npz`` or ``.npy`` files, folders of them, or patterns. An ``.npz`` has an array for each input by its
            name, or one array for the one input, and, where known, ``probabilities``, ``decision`` and ``target``.
        tolerance: largest difference of a probability.

    Raises:
        ValueError: the folder, a file or the tolerance is wrong.
        ImportError: onnxruntime is not installed.
        RuntimeError: the model failed on some rows.
    """
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` is {tolerance}, wanted 0 or more.")
    files = files_of(data)
    manifest = check_files(folder)
    predictors, left_out = _opened(folder, manifest)
    sums = {name: _Sums(manifest.decision) for name in predictors}
    against: dict[str, None] = {}
    number = 0
    for path in files:
        for rows in rows_of(path, manifest.signature):
            against[_add(path, rows, predictors, sums)] = None
            number += len(rows)
    formats = tuple(
        FormatCheck(name, found.counts, found.figures.values(), _close(name, found.counts, tolerance))
        for name, found in sums.items()
    )
    return CheckReport(number, tuple(against), formats, left_out, _tested(manifest, formats))


def check_command(folder: str | Path, data: Sequence[str | Path], *, tolerance: float = TOLERANCE) -> tuple[int, str]:
    """What ``lightning-posttrain check FOLDER DATA`` ends with, and what it prints.

    Args:
        folder: as of ``check``.
        data: as of ``check``.
        tolerance: as of ``check``.

    Returns:
        0 and the table; 1 and the table where a format does not pass; 2 and why where it could not be checked.
    """
    try:
        report = check(folder, data, tolerance=tolerance)
    except (ValueError, ImportError, RuntimeError, OSError) as error:
        return 2, str(error)
    return (0 if report.ok else 1), str(report)


def _opened(folder: str | Path, manifest: Manifest) -> tuple[dict[str, Predictor], tuple[str, ...]]:
    """Each format of a folder that can be run here, and why others are left out."""
    predictors: dict[str, Predictor] = {}
    left_out = []
    for name, file in FILES.items():
        if file not in manifest.files:
            continue
        try:
            predictors[name] = Predictor(folder, format=name)
        except ImportError as error:
            if name != "pt2":
                raise
            left_out.append(f"{name} is left out: {error}")
    if not predictors:
        said = "; ".join(left_out) or f"it has {', '.join(sorted(manifest.files)) or 'no other file'}"
        raise ValueError(f"`folder` is {str(folder)!r}, which has no format that can be run here: {said}")
    return predictors, tuple(left_out)


class _Sums:
    """What the answers of one format amount to, over all rows.

    Args:
        decision: how it decides.
    """

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self.counts, self.figures = ParityCounts(), TargetFigures()

    def add(self, known: Mapping[str, Array], target: Array | None, got: Outputs) -> None:
        """Add rows: beside what is known of them, and beside their targets."""
        if known:
            self.counts = self.counts + compared(known, got, self._decision)
        if target is not None:
            self.figures.add(target, got, self._decision.task)


def compared(known: Mapping[str, Array], got: Outputs, decision: Decision) -> ParityCounts:
    """Answers beside ``probabilities``, ``decision`` or both of the same rows; of what is not known, none is counted.

    Args:
        known: by name.
        got: of the same rows.
        decision: how probabilities decide.

    Raises:
        ValueError: one has another shape.
    """
    for name, found in got._asdict().items():
        if name in known and known[name].shape != found.shape:
            raise ValueError(f"`{name}` has shape {known[name].shape}, and the model gives {found.shape}.")
    wanted = Outputs(known.get(PROBABILITIES, got.probabilities), known.get(DECISION, got.decision))
    margin = margins(wanted.probabilities, decision) if decision.calibration is None else None
    counts = ParityCounts.of(wanted, got, margin=margin)
    values, decisions = counts.values if PROBABILITIES in known else 0, counts.decisions if DECISION in known else 0
    return replace(counts, values=values, decisions=decisions)


def _add(path: Path, rows: Rows, predictors: Mapping[str, Predictor], sums: Mapping[str, _Sums]) -> str:
    """Add rows to all sums; says what they were compared with."""
    known = {name: array for name, array in rows.known.items() if name in (PROBABILITIES, DECISION)}
    against = "data" if known else next(iter(predictors))
    for name, predictor in predictors.items():
        got = predictor.run(rows.inputs)
        try:
            sums[name].add(known, rows.known.get(TARGET), got)
        except ValueError as error:
            raise ValueError(f"'{path.name}': {error}") from None
        known = known or got._asdict()
    return against


def _close(name: str, counts: ParityCounts, tolerance: float) -> bool:
    if counts.non_finite or counts.tested_non_finite:
        return False
    if name == "int8":
        return counts.flips <= INT8_FLIPS * counts.decisions
    return counts.largest <= tolerance and not counts.no_ties


def _tested(manifest: Manifest, formats: Sequence[FormatCheck]) -> dict[str, dict[str, Any]]:
    """Figures of the manifest that were found here too."""
    here = {name for found in formats for name in found.figures}
    there: dict[str, dict[str, Any]] = {}
    for stage, name, figure in manifest.figures():
        if name in here:
            there.setdefault(stage, {})[name] = figure
    return there
