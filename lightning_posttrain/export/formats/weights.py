"""Weights alone, for who has the module's code."""

from __future__ import annotations

from pathlib import Path
from typing import final

from torch import nn

from lightning_posttrain.export.formats.base import CalibrationRows, Format
from lightning_posttrain.export.formats.onnx_file import WITH_EXTRA
from lightning_posttrain.export.program import CannotExportError, Entry, Traced
from lightning_posttrain.export.signature import Signature


@final
class Weights(Format):
    """Parameters and buffers under their names in the user's module, as safetensors, with the manifest beside them.

    ``safetensors.torch.load_model(module, path)`` reads them back, tied ones too.
    """

    name = "safetensors"
    files = ("weights.safetensors",)

    def write(
        self,
        traced: Traced,
        folder: Path,
        manifest_text: str,
        calibration_rows: CalibrationRows | None = None,  # noqa: ARG002 - nothing is measured
    ) -> None:
        """Write ``weights.safetensors``."""
        try:
            from safetensors.torch import save_model
        except ImportError as error:
            raise CannotExportError("format 'safetensors' needs its package", WITH_EXTRA) from error
        try:
            save_model(own_module(traced), str(folder / self.files[0]), {"format": "pt", "manifest": manifest_text})
        except (AttributeError, TypeError, ValueError) as error:
            raise CannotExportError(
                f"the state of the network holds what is no tensor: {error}", "Use format 'onnx' or 'pt2'."
            ) from error

    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> None:
        """Weights alone cannot be run."""


def own_module(traced: Traced) -> nn.Module:
    """The user's module in what is shipped."""
    network = traced.deployed.network
    return network.root if isinstance(network, Entry) else network
