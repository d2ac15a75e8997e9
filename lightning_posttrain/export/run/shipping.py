"""The manifest of what is shipped, and the folder with what of it is kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_posttrain.__about__ import __version__
from lightning_posttrain.core.callback.fitted_on_validation import mark_of
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.places import check_place
from lightning_posttrain.export.folder.writing import write_folder
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.result import FormatParity
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.prepared import Prepared
from lightning_posttrain.export.signature import Array, Signature

PACKAGES = ("torch", "lightning", "onnx", "onnxscript", "onnxruntime")
NOTHING_KEPT = "no format is kept, so nothing was written to the folder"
MARK = "mark"
"""In what the manifest says of the weights: sums by which they are known again."""


def weights_facts(run: Context, shipped: Prepared) -> dict[str, Any]:
    """What the manifest says of the weights."""
    weights = shipped.weights
    mark = mark_of(weights.module)
    return {**weights.facts, "words": weights.words, MARK: mark, "uint8": run.settings.uint8}


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
    manifest: Manifest, formats: Sequence[FormatParity], *, stage: str, metrics: Mapping[str, Any], data: DataSeen,
    statistics: Mapping[str, Any] | None = None, reference: Mapping[str, Any] | None = None,
) -> Manifest:  # fmt: skip
    """A manifest with what was found in one stage."""
    rows = next((one.rows for one in formats if one.rows), 0)
    cost = {
        one.name: {"bytes": one.bytes, "latency": one.to_dict()["latency"]} for one in formats if one.kept and one.bytes
    }
    return replace(
        manifest,
        parity={one.name: one.to_dict() for one in formats},
        cost={**manifest.cost, **cost},
        metrics={**manifest.metrics, stage: {"rows": rows, **metrics}},
        data={**manifest.data, stage: data.to_dict()},
        input_statistics=statistics if statistics else manifest.input_statistics,
        reference=reference if reference is not None else manifest.reference,
    )


def write_kept(path: str, manifest: Manifest, formats: Sequence[FormatParity], files: Path) -> bool:
    """Write the folder with the formats that are kept; whether there is one.

    Args:
        path: of the folder.
        manifest: what it says.
        formats: all of them.
        files: where they lie.
    """
    kept = [file for one in formats if one.kept for file in FORMATS[one.name].files]
    if not kept:
        return False

    def write(work: Path) -> None:
        for file in kept:
            _second_name(files / file, work / file)

    write_folder(path, manifest, write)
    return True


def remarks_of(world_size: int, *, wrote: bool) -> tuple[str, ...]:
    """What a report says besides.

    Args:
        world_size: ranks of the run.
        wrote: whether there is a folder.
    """
    ranks = (f"compared on the rows of the first of {world_size} ranks",) if world_size > 1 else ()
    return ranks if wrote else (*ranks, NOTHING_KEPT)


def withdraw(path: str) -> None:
    """Remove an export of ours of which no format is kept any more.

    Raises:
        ValueError: it is none, or holds files of others.
    """
    check_place(path)
    shutil.rmtree(path)


def _second_name(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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


@dataclass
class DataSeen:
    """Which rows were seen: how many, of which classes, and a fingerprint.

    Args:
        classes: how many there are.
        said: whether it was said that this takes long.
    """

    classes: int
    rows: int = 0
    counts: Array = field(init=False)
    said: bool = False
    _digest: Any = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.classes, dtype=np.int64)
        self._digest = hashlib.sha256()

    def add(self, target: torch.Tensor, index: torch.Tensor | None, samples: int) -> None:
        """See a batch: its targets, and where its samples stand in the dataset, if that is known."""
        values = target.detach().cpu().numpy().astype(np.int64)
        self.rows += samples
        if values.ndim == 2:
            self.counts += (values == 1).sum(0)
        else:
            known = values[(values >= 0) & (values < self.classes)]
            self.counts += np.bincount(known, minlength=self.classes)
        places = np.zeros(0, dtype=np.int64) if index is None else index.detach().cpu().numpy().astype(np.int64)
        self._digest.update(np.ascontiguousarray(places).tobytes() + np.ascontiguousarray(values).tobytes())

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {"rows": self.rows, "class_counts": self.counts.tolist(), "fingerprint": self._digest.hexdigest()}
