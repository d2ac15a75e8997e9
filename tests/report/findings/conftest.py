"""Records of a run, written for one rule."""

import pytest

from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.findings import findings
from tests.report.findings.simulated import write


@pytest.fixture
def said(tmp_path):
    """What is said, by rule, of a test with some records; a name with a slash has its own stage."""

    def of(**records):
        (tmp_path / "posttrain" / "test").mkdir(parents=True, exist_ok=True)
        for name, record in records.items():
            stage, _, own = name.rpartition("__")
            write(tmp_path, own, record, stage or "test")
        return {found.rule: found for found in findings(RunFolder(tmp_path), "test")}

    return of
