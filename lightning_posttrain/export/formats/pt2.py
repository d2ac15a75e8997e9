"""An exported program of torch, for Python with torch and nothing of the user's code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import final

import torch

from lightning_posttrain.export.folder.running import FILES, opened
from lightning_posttrain.export.formats.base import CalibrationRows, Format
from lightning_posttrain.export.manifest import MANIFEST
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.signature import Signature


@final
class Pt2(Format):
    """What ``torch.export.load`` takes, without examples and pickles; the manifest is in it."""

    name = "pt2"
    files = (FILES["pt2"],)

    def write(
        self,
        traced: Traced,
        folder: Path,
        manifest_text: str,
        calibration_rows: CalibrationRows | None = None,  # noqa: ARG002 - nothing is measured
    ) -> None:
        """Write ``model.pt2``."""
        content = io.BytesIO()  # where torch itself writes to a disk that is full, it ends the process
        with quiet():
            torch.export.save(traced.program, content, extra_files={MANIFEST: manifest_text})
        (folder / self.files[0]).write_bytes(content.getbuffer())

    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> Runner:
        """By torch, after the file was checked to run no code."""
        with quiet():
            return opened(folder, "pt2", signature, threads=threads)
