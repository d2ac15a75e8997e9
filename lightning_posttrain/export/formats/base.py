"""What every format offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.signature import Array, Signature

CalibrationRows = Sequence[Mapping[str, Array]]
"""Batches by input, as ``Signature.of`` gives them."""


class Format(ABC):
    """A way to write what was traced.

    Attributes:
        name: under which users ask for it.
        files: that it writes.
    """

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    @abstractmethod
    def write(
        self, traced: Traced, folder: Path, manifest_text: str, calibration_rows: CalibrationRows | None = None
    ) -> None:
        """Write ``files`` into a folder that exists, and nothing elsewhere.

        Args:
            traced: what is shipped.
            folder: where.
            manifest_text: goes along, where the format has a place for it.
            calibration_rows: real rows that ranges of numbers are measured on; only some formats want them.

        Raises:
            CannotExportError: the format cannot hold it, or lacks something on this machine.
        """

    @abstractmethod
    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> Runner | None:
        """What runs the files of a folder on arrays that ``signature`` has checked; None where they cannot be run."""
