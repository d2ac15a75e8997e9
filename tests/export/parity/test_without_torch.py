"""What compares answers needs NumPy alone."""

import subprocess
import sys

import pytest

ROOMS = [f"export.parity.{room}" for room in ("batches", "change", "counts", "decide", "margins", "sums", "tolerance")]


@pytest.mark.parametrize("room", [*ROOMS, "core.statistics.latency"])
def test_what_compares_imports_no_torch(room):
    code = f"import lightning_posttrain.{room}, sys; print(sorted({{'torch', 'onnx'}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
