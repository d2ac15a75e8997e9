"""Answers of an exported folder, with NumPy and onnxruntime alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from lightning_posttrain.export.answers import Answers
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.hashes import check_folder, read_manifest
from lightning_posttrain.export.folder.pt2 import check_pt2
from lightning_posttrain.export.folder.running import FILES, Running, opened
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.signature import Array, Signature

PIECE = 64
"""Rows that are run at once: the memory of a call does not grow with its rows."""


@final
class Predictor:
    """Answers rows with an exported model: probabilities, decisions and class names, as it was tested.

    Neither torch nor Lightning is imported, but for ``format="pt2"``. One predictor may be used by many threads.

    Args:
        folder: of the export. ``load`` checks its files first, this does not.
        format: ``"onnx"``, ``"int8"``, or ``"pt2"``, which needs torch.
        threads: of the processor for one call.
        providers: of onnxruntime, the first choice first, as ``["CUDAExecutionProvider", "CPUExecutionProvider"]``;
            None for the CPU.

    Attributes:
        manifest: what the folder says of itself.

    Raises:
        ValueError: the folder is no export, or lacks the format; or an argument is wrong.
        ImportError: onnxruntime is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        format: Running = "onnx",  # noqa: A002 - as people say it
        threads: int = 1,
        providers: Sequence[Any] | None = None,
    ) -> None:
        self.folder, self.format = Path(folder), format
        self.manifest = read_manifest(self.folder)
        if format in FILES and FILES[format] not in self.manifest.files:
            listed = [name for name, file in FILES.items() if file in self.manifest.files]
            raise ValueError(
                f"`format` is {format!r}, and the folder has {', '.join(listed) or 'none that can be run'}."
            )
        self._run = opened(self.folder, format, self.signature, threads=threads, providers=providers)

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.manifest.signature

    @property
    def decision(self) -> Decision:
        """How it decides."""
        return self.manifest.decision

    def __call__(self, rows: ArrayLike | Mapping[str, ArrayLike]) -> Answers:
        """Answer rows.

        Args:
            rows: an array, or a list, with rows first; where there are several inputs, a dict of them by name.

        Raises:
            ValueError: they are not what the model takes: a shape, a type, a number that is not finite, no row.
            RuntimeError: the model failed on them.
        """
        return Answers.of(self.run(self.signature.of(rows)), self.decision)

    def run(self, arrays: Mapping[str, Array], /) -> Outputs:
        """Probabilities and decisions of rows that were checked before, as a server does before it joins them.

        Args:
            arrays: by input, as ``signature.of`` gives them.

        Raises:
            RuntimeError: the model failed on them.
        """
        number = len(next(iter(arrays.values())))
        pieces = [
            self._run({name: array[start : start + PIECE] for name, array in arrays.items()})
            for start in range(0, number, PIECE)
        ]
        return pieces[0] if len(pieces) == 1 else Outputs(*map(np.concatenate, zip(*pieces, strict=True)))


def load(
    folder: str | Path,
    *,
    format: Running = "onnx",  # noqa: A002 - as people say it
    threads: int = 1,
    providers: Sequence[Any] | None = None,
) -> Predictor:
    """Check an exported folder, and open it.

    The SHA-256 of each file must be that of the manifest, and a ``model.pt2`` must not be able to run code when it is
    loaded. A hash in the same folder proves no origin.

    Args:
        folder: of the export.
        format: as of ``Predictor``.
        threads: as of ``Predictor``.
        providers: as of ``Predictor``.

    Raises:
        ValueError: a file is missing, was changed or is refused; or as ``Predictor``.
        ImportError: onnxruntime is not installed.
    """
    check_files(folder)
    return Predictor(folder, format=format, threads=threads, providers=providers)


def check_files(folder: str | Path) -> Manifest:
    """Check every file of an exported folder before one is opened.

    Args:
        folder: of the export.

    Returns:
        Its manifest.

    Raises:
        ValueError: as ``load``.
    """
    manifest = check_folder(folder)
    if FILES["pt2"] in manifest.files:
        check_pt2(Path(folder) / FILES["pt2"])
    return manifest
