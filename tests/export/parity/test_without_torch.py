"""What compares answers needs NumPy alone."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("room", ["batches", "change", "counts", "decide", "latency", "margins", "sums", "tolerance"])
def test_a_room_of_parity_imports_no_torch(room):
    code = (
        f"import lightning_posttrain.export.parity.{room}, sys; print(sorted({{'torch', 'onnx'}} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
