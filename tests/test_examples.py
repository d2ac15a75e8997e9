import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_digits_reach_97_percent_and_say_where_everything_is(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), "--folder", str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in out.splitlines() if line.startswith("accuracy "))
    assert float(line.split()[1]) >= 0.97
    folder = Path(out.split("figures: ")[1].splitlines()[0])
    for stage in ("val", "test"):
        for name in (
            "confusion_matrix.png",
            "roc_curve.png",
            "saliency.png",
            "classification_report.csv",
            "confusion_matrix.json",
        ):
            assert (folder / stage / name).stat().st_size > 0
    assert f"tensorboard --logdir {folder.parent}" in out
