"""An exported program of torch, for Python with torch and nothing of the user's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch

from lightning_posttrain.export.formats.base import CalibrationRows, Format
from lightning_posttrain.export.manifest import MANIFEST
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.signature import Array, Signature


@final
class Pt2(Format):
    """What ``torch.export.load`` takes, without examples and pickles; the manifest is in it."""

    name = "pt2"
    files = ("model.pt2",)

    def write(
        self,
        traced: Traced,
        folder: Path,
        manifest_text: str,
        calibration_rows: CalibrationRows | None = None,  # noqa: ARG002 - nothing is measured
    ) -> None:
        """Write ``model.pt2``."""
        with quiet():
            torch.export.save(traced.program, folder / self.files[0], extra_files={MANIFEST: manifest_text})

    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> Runner:
        """By torch; a file of strangers is checked for pickles before."""
        with quiet():
            module = torch.export.load(folder / self.files[0]).module()
        return torch_runner(module, signature, threads)


def torch_runner(module: Callable[..., Any], signature: Signature, threads: int) -> Runner:
    """What runs a module of torch on arrays.

    Args:
        module: takes one tensor for each input.
        signature: names of the inputs.
        threads: while it runs.
    """
    names = [spec.name for spec in signature.inputs]

    def run(arrays: Mapping[str, Array]) -> Outputs:
        before = torch.get_num_threads()
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            torch.set_num_threads(threads)
            try:
                found = module(*(torch.from_numpy(arrays[name]) for name in names))
            finally:
                torch.set_num_threads(before)
        return Outputs(*(one.numpy() for one in found))

    return run
