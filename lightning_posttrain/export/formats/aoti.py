"""Native code for this kind of machine, by AOTInductor."""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final
from unittest.mock import patch

import torch

from lightning_posttrain.export.folder.running import torch_runner
from lightning_posttrain.export.formats.base import CalibrationRows, Format
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import CannotExportError, Traced
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.program.refusals import refusal
from lightning_posttrain.export.signature import Signature

COMPILERS = ("g++", "clang++", "c++")


@final
class Aoti(Format):
    """A shared library, compiled for the processor of this machine and others like it.

    It takes about a minute. The library checks no shapes: ``Signature.of`` must stand before it. To open it runs native
    code, so that it is nothing for files of strangers. The manifest stays outside.
    """

    name = "aoti"
    files = ("model.aoti.pt2",)

    def write(
        self,
        traced: Traced,
        folder: Path,
        manifest_text: str,  # noqa: ARG002 - the package has no place for it
        calibration_rows: CalibrationRows | None = None,  # noqa: ARG002 - nothing is measured
    ) -> None:
        """Write ``model.aoti.pt2``.

        Raises:
            CannotExportError: there is no C++ compiler, or it fails.
        """
        if not any(map(shutil.which, COMPILERS)):
            raise CannotExportError(
                "format 'aoti' needs a C++ compiler, and none is on the path",
                "Install g++, as by `apt-get install g++`, or leave the format out.",
            )
        path = folder / self.files[0]
        with (
            TemporaryDirectory(dir=folder) as beside,
            patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": beside}),
            quiet(),
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
        ):
            _without_paths(_compiled(traced), path, beside)

    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> Runner:
        """By torch."""
        with quiet():
            module = torch._inductor.aoti_load_package(str(folder / self.files[0]))
        return torch_runner(folder / self.files[0], module, signature, threads)


def _compiled(traced: Traced) -> io.BytesIO:
    """A package, made with zeros for examples, whose shapes are looked at.

    In memory: where torch itself writes a package to a disk that is full, it ends the process.
    """
    built = io.BytesIO()
    zeros = tuple(torch.zeros_like(one[:1]).repeat(2, *(1,) * (one.ndim - 1)) for one in traced.examples[0].values())
    try:
        traced.program.example_inputs = (zeros, {})
        torch._inductor.aoti_compile_and_package(traced.program, package_path=built)
    except Exception as error:
        raise refusal(error, "AOTInductor cannot compile the network") from error
    finally:
        traced.program.example_inputs = None
    return built


def _without_paths(built: io.BytesIO, path: Path, beside: str) -> None:
    """Write a package without its source, and without the folders of this machine in its library."""
    folders = sorted({beside, str(Path(torch.__file__).parents[1]), sys.prefix, sys.base_prefix}, key=len, reverse=True)
    with zipfile.ZipFile(built) as given, zipfile.ZipFile(path, "w") as written:
        for name in given.namelist():
            if not name.endswith((".cpp", ".h")):
                content = given.read(name)
                for folder in map(os.fsencode, folders):  # as long as before: a library has its strings in places
                    content = content.replace(folder, b"_" * len(folder))
                written.writestr(name, content)
