"""Files of an exported model, by format.

A format writes what was traced into a folder, and opens it again. Another one is a class like those here, and a line in
``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_posttrain.export.formats.aoti import Aoti
from lightning_posttrain.export.formats.base import Format
from lightning_posttrain.export.formats.int8 import Int8
from lightning_posttrain.export.formats.onnx_file import Onnx, onnx_named
from lightning_posttrain.export.formats.pt2 import Pt2
from lightning_posttrain.export.formats.weights import Weights

FORMATS: Mapping[str, Format] = {one.name: one for one in (Onnx(), Pt2(), Weights(), Aoti(), Int8())}

__all__ = ["FORMATS", "Format", "onnx_named"]
