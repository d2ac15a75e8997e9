import subprocess
import sys

from lightning_posttrain.report import report_command
from tests.report import runs


def test_each_stage_gets_its_page_and_its_path_is_said(tmp_path):
    runs.run(tmp_path)
    runs.run(tmp_path, stage="val")
    code, text = report_command(tmp_path)
    pages = [tmp_path / "posttrain" / stage / "report.html" for stage in ("test", "val")]
    assert code == 0
    assert text.splitlines() == [str(page) for page in pages]
    assert all(page.is_file() for page in pages)
    assert report_command(tmp_path, stage="val") == (0, str(pages[1]))


def test_what_is_no_run_is_said_with_code_2(tmp_path):
    assert report_command(tmp_path / "none")[0] == 2
    (tmp_path / "posttrain").mkdir()
    code, text = report_command(tmp_path)
    assert code == 2
    assert "validated or tested" in text
    runs.run(tmp_path)
    assert report_command(tmp_path, stage="val") == (2, f"`stage` is 'val'; {str(tmp_path / 'posttrain')!r} has test.")


def test_a_page_of_somebody_else_stays_as_it_is(tmp_path):
    runs.run(tmp_path)
    other = tmp_path / "posttrain" / "test" / "report.html"
    other.write_text("mine")
    code, text = report_command(tmp_path)
    assert code == 2
    assert "stays as it is" in text
    assert other.read_text() == "mine"


def test_it_is_a_command(tmp_path):
    runs.run(tmp_path)
    command = [sys.executable, "-m", "lightning_posttrain", "report"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("report.html")
    failed = subprocess.run([*command, str(tmp_path / "no")], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "no folder" in failed.stderr
