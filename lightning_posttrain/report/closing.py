"""The page as the last thing that a run writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.findings import findings
from lightning_posttrain.report.page.writing import artifacts


def close(home: str, stage: str) -> Iterator[Tagged]:
    """The page of a stage and its summary, read from the files that are there when asked for; nothing without any.

    Args:
        home: the ``posttrain`` folder of the run.
        stage: as ``"test"``.
    """
    if Path(home).is_dir():
        yield from artifacts(RunFolder(home), stage, findings)
