"""Code in a model card: how the folder is loaded."""

from __future__ import annotations

from lightning_posttrain.export.folder.running import FILES
from lightning_posttrain.export.folder.runtime import INSTALL
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.signature import TensorSpec


def loading(manifest: Manifest) -> str:
    """Code that answers rows: with this package, with onnxruntime alone, and by a server; each runs as it stands."""
    if FILES["onnx"] not in manifest.files:
        return 'There is no `model.onnx` in this folder; `Predictor(folder, format="pt2")` runs `model.pt2` with torch.'
    rows = ", ".join(f'"{spec.name}": {_zeros(spec)}' for spec in manifest.signature.inputs)
    with_us = [
        "import numpy as np",
        "from lightning_posttrain.export import load",
        "",
        'predictor = load(".")  # checks the SHA-256 of each file; no torch is imported',
        f"rows = {{{rows}}}",
        "print(predictor(rows))  # .labels, .probabilities, .decision",
    ]
    alone = [
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{FILES["onnx"]}")',
        f"rows = {{{rows}}}",
        'probabilities, decision = session.run(["probabilities", "decision"], rows)',
    ]
    return "\n\n".join(
        [
            f"In this folder, with `{INSTALL}`:",
            _fenced("python", with_us),
            "With onnxruntime alone:",
            _fenced("python", alone),
            "As a server, with `pip install 'lightning-posttrain[serve]'`:",
            _fenced("bash", ["lightning-posttrain serve . --port 8000"]),
        ]
    )


def _zeros(spec: TensorSpec) -> str:
    """Two rows; a free length is 8."""
    shape = [2, *(size or 8 for size in spec.shape[1:])]
    return f'np.zeros({tuple(shape)}, "{spec.dtype}")'


def _fenced(language: str, lines: list[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
