"""The manifest of what is shipped, and the folder with what of it is kept."""

from __future__ import annotations

import contextlib
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lightning_posttrain.__about__ import __version__
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.places import check_place
from lightning_posttrain.export.folder.writing import second_name, write_folder
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.result import ExportReport, FormatParity
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.prepared import Prepared
from lightning_posttrain.export.run.trial import EAGER, Trial
from lightning_posttrain.export.run.weights import TENSORS
from lightning_posttrain.export.signature import Signature

PACKAGES = ("torch", "lightning", "onnx", "onnxscript", "onnxruntime")
NOTHING_KEPT = "no format is kept, so nothing was written to the folder"
WITHDRAWN = "no format gives the answers of the test, so the earlier export was removed"


def weights_facts(run: Context, shipped: Prepared) -> dict[str, Any]:
    """What the manifest says of the weights."""
    weights = shipped.weights
    own = {"words": weights.words, TENSORS: weights.tensors_sha256, "uint8": run.settings.uint8}
    return {**weights.facts, **own, "parameters": sum(one.numel() for one in weights.module.parameters())}


def manifest_of(name: str, signature: Signature, decision: Decision, weights: Mapping[str, Any]) -> Manifest:
    """What is known before anything was compared."""
    versions = {"lightning_posttrain": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package).partition("+")[0]
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Manifest(name, created, versions, signature, decision, weights=weights)


def about_files(run: Context, shipped: Prepared, trace: Traced) -> str:
    """What goes into the metadata of the files themselves."""
    return manifest_of(run.model_name, trace.signature, shipped.decision, weights_facts(run, shipped)).to_json()


def with_parity(
    manifest: Manifest, formats: Sequence[FormatParity], trial: Trial, *, stage: str, reports: Mapping[str, Any]
) -> Manifest:
    """A manifest with what was found in one stage.

    Args:
        manifest: as it was before.
        formats: what each amounts to.
        trial: of the stage.
        stage: its name.
        reports: as ``Trial.reports`` gives them.
    """
    cost = {}
    for one in formats:
        if one.kept and one.bytes:
            cost[one.name] = {"bytes": one.bytes, "latency": one.to_dict()["latency"]}
    measured = {"rows": trial.seen.rows, **figures_with_intervals(reports.get(EAGER))}
    reference = trial.drift_reference()
    return replace(
        manifest,
        parity={one.name: one.to_dict() for one in formats},
        cost=cost,
        metrics={**manifest.metrics, stage: measured},
        data={**manifest.data, stage: trial.seen.to_dict()},
        input_statistics=trial.inputs.to_dict(),
        reference=manifest.reference if reference is None else reference,
    )


def report_of(
    run: Context, weights: str, decision: Decision, *, formats: tuple[FormatParity, ...], trial: Trial | None,
    remark: str,
) -> ExportReport:  # fmt: skip
    """What is said of an export.

    Args:
        run: that it was in.
        weights: which they are, in words.
        decision: how it decides.
        formats: what each amounts to.
        trial: what they were compared on; None where nothing could be traced.
        remark: a further sentence, or "".
    """
    inputs = {} if trial is None else trial.inputs.to_dict()
    ranks = run.trainer.world_size
    remarks = [f"compared on the rows of the first of {ranks} ranks"] if ranks > 1 else []
    remarks += [] if trial is None else trial.remarks
    remarks += [remark] if remark else []
    return ExportReport(run.folder.name, weights, formats, decision.summary, inputs, decision.left_out, tuple(remarks))


def write_kept(path: str, manifest: Manifest, formats: Sequence[FormatParity], files: Path) -> str:
    """Write the folder with the formats that are kept; a sentence where there is none.

    Args:
        path: of the folder.
        manifest: what it says.
        formats: all of them.
        files: where they lie.
    """
    kept = [file for one in formats if one.kept for file in FORMATS[one.name].files]
    if not kept:
        return NOTHING_KEPT

    def write(work: Path) -> None:
        for file in kept:
            second_name(files / file, work / file)

    write_folder(path, manifest, write)
    return ""


def withdraw(path: str) -> str:
    """Remove an export of ours of which no format is kept any more; a sentence that says so.

    Raises:
        ValueError: it is none, or holds files of others.
    """
    check_place(path)
    shutil.rmtree(path)
    return WITHDRAWN


def figures_with_intervals(report: Any) -> dict[str, dict[str, Any]]:
    """The figures of a report with their intervals, for the manifest.

    Args:
        report: a ``ClassificationReport``, or None.
    """
    found: dict[str, dict[str, Any]] = {}
    if report is not None:
        for name, value in report.overall.items():
            low, high = report.intervals.get(name, (None, None))
            found[name] = {"value": value, "low": low, "high": high}
    return found
