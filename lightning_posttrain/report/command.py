"""The page once more, from the command line."""

from __future__ import annotations

from os import PathLike

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.core.output.sinks.stores import NotOurs
from lightning_posttrain.report.findings import findings
from lightning_posttrain.report.page.writing import write_report


def report_command(run: str | PathLike[str], *, stage: str | None = None) -> tuple[int, str]:
    """Make the pages of a run once more.

    Args:
        run: its folder, as ``trainer.log_dir``.
        stage: as ``"val"``. Default: validation and test, each where there is one.

    Returns:
        0 and the paths, a line each; or 2 and what is wrong with ``run`` or ``stage``, or what cannot be written.
    """
    try:
        folder = RunFolder(run)
        return 0, "\n".join(str(write_report(folder, each, findings)) for each in _stages(folder, stage))
    except ValueError as error:
        return 2, str(error)
    except NotOurs as error:
        return 2, f"{error.place} was not written by lightning_posttrain, and stays as it is; move it away."
    except OSError as error:
        return 2, f"The page cannot be written: {first_line(error)}."


def _stages(folder: RunFolder, wanted: str | None) -> tuple[str, ...]:
    there = folder.stages
    if not there:
        raise ValueError(f"{str(folder.home)!r} has no figures of a stage; wanted a run that was validated or tested.")
    if wanted is not None and wanted not in there:
        raise ValueError(f"`stage` is {wanted!r}; {str(folder.home)!r} has {', '.join(there)}.")
    return (wanted,) if wanted else tuple(each for each in there if each in ("val", "test")) or there[:1]
