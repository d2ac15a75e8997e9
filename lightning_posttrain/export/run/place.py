"""Where an export lies."""

from __future__ import annotations


def place_of(run_folder: str) -> str:
    """The folder of the export of a run.

    Raises:
        ValueError: the run keeps its files on another machine, where no model can be run.
    """
    if "://" in run_folder:
        raise ValueError(
            f"the run's folder is {run_folder}, and an export is run where it is written. Pass folder='export', a "
            "local path, to ModelExport."
        )
    return f"{run_folder.rstrip('/')}/posttrain/export"
