"""Room on a disk for pictures, so that they are never what fills it up."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

RESERVE = 64 * 2**20
"""Bytes that stay free for the run itself, but no more than a quarter of the disk."""
FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}


def check_space(folders: Iterable[str | None], size: int) -> None:
    """Raise ``OSError`` where a disk has no room for so many bytes, four times over, and the reserve.

    Four times, as a logger writes them too, later, and they replace older files only when they are whole.

    Args:
        folders: on the disks in question, perhaps not made yet; URLs and None are passed over.
        size: in bytes.
    """
    for folder in {folder for folder in folders if folder and "://" not in folder}:
        place = next(place for place in (Path(folder), *Path(folder).absolute().parents) if place.is_dir())
        disk = shutil.disk_usage(place)
        # some file systems cannot say
        if disk.total and disk.free < 4 * size + min(RESERVE, disk.total // 4):
            raise OSError(
                errno.ENOSPC, f"{disk.free / 2**20:.1f} MiB left on the disk, too little to go on", str(place)
            )


def is_full(error: BaseException) -> bool:
    """Whether a disk has no room, or the user none on it."""
    return isinstance(error, OSError) and error.errno in FULL
