"""Folders that take the place of others in one step, and what is left of those whose process was killed."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import socket
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_posttrain.core.output.space import is_full
from lightning_posttrain.export.folder.hashes import changed, read_manifest

_AT_HERE, _EXCHANGE = -100, 2
_CLOSED = {errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR}
_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}
ABANDONED = 86_400
"""Seconds after which what another machine was writing is taken for left behind."""
TRIES = 20


def check_place(path: str | Path) -> None:
    """Check that an export may be written to a path: nothing is there, an empty folder, or an earlier export.

    Raises:
        ValueError: it is a file, a folder of something else, or an export with files that are not as it was written.
    """
    path = Path(path)
    for _ in range(TRIES):
        seen = _identity(path)
        try:
            return _check(path)
        except (ValueError, OSError):
            # another process may have put its own there meanwhile
            if seen == _identity(path):
                raise
    raise _busy(path)


def _check(path: Path) -> None:
    if _free(path):
        return
    if not path.is_dir():
        raise ValueError(f"`path` is {str(path)!r}, which is a file. Move it elsewhere, or give another path.")
    try:
        manifest = read_manifest(path)
    except ValueError as error:
        raise ValueError(
            f"`path` is {str(path)!r}, a folder that is not an export: {error} Move it elsewhere, or give another path."
        ) from None
    if others := changed(path, manifest):
        raise ValueError(
            f"`path` is {str(path)!r}, an export that holds what was not written with it: {', '.join(others[:5])}. "
            "Move what is yours elsewhere and remove the folder, or give another path."
        )


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to write to, which is removed at the end with what is in it.

    Raises:
        OSError: a disk that is full or may not be written to, with what to do.
    """
    work = path.parent / f"{_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        yield work
    except OSError as error:
        if (cure := _cure(error)) and cure not in str(error):
            raise OSError(error.errno, f"{error.strerror}. {cure}", str(path)) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _cure(error: OSError) -> str:
    if is_full(error):
        return "Make room on the disk, or write to another one"
    return "Give a path that may be written to" if error.errno in _CLOSED else ""


def take_place(work: Path, path: Path) -> None:
    """Put a folder in the place of an earlier export, or where nothing is; the earlier one is then where it was.

    Raises:
        ValueError: as ``check_place``.
    """
    for _ in range(TRIES):
        check_place(path)
        with suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
            if _free(path):
                return _moved(work, path)
            swap(work, path)
            try:
                return check_place(work)
            except ValueError:
                swap(work, path)
                raise
        time.sleep(0.01)
    raise _busy(path)


def swap(one: Path, other: Path) -> None:
    """Exchange two folders: in one step where the system can, else in three."""
    if not _exchanged(one, other):
        aside = one.with_suffix(".old")
        other.rename(aside)
        try:
            one.rename(other)
        except OSError:
            aside.rename(other)
            raise
        aside.rename(one)


def tidy(path: Path) -> None:
    """Remove what killed processes left beside ``path``; an earlier export that one had moved aside is put back."""
    for left in sorted(path.parent.glob(f"{_glob_safe(_prefix(path, host=False))}*")):
        if left.suffix in (".part", ".old") and left.is_dir() and _left_behind(left):
            if left.suffix == ".old" and _free(path):
                with suppress(OSError):
                    left.rename(path)
            shutil.rmtree(left, ignore_errors=True)


def _busy(path: Path) -> ValueError:
    return ValueError(f"`path` is {str(path)!r}, which others keep writing to. Give each export a path of its own.")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _free(path: Path) -> bool:
    if not path.is_symlink() and path.is_dir():
        return not any(path.iterdir())
    return not os.path.lexists(path)


def _moved(work: Path, path: Path) -> None:
    """Rename to where nothing is, or an empty folder."""
    try:
        work.rename(path)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(*error.args) from None
        if not isinstance(error, FileExistsError):
            raise
        path.rmdir()
        work.rename(path)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or its file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform.startswith("linux") else None
    if rename is None:
        return False
    if rename(_AT_HERE, os.fsencode(one), _AT_HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _prefix(path: Path, *, host: bool = True) -> str:
    """How the names of folders begin that are written beside ``path``, by whom."""
    begun = f".{path.name}.lightning-posttrain-"
    return begun + f"{zlib.crc32(socket.gethostname().encode()):08x}-" if host else begun


def _glob_safe(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _left_behind(work: Path) -> bool:
    """Whether the process that wrote there is gone, or, where it was elsewhere, long silent."""
    host, pid = work.stem.split("-")[-3:-1] if work.stem.count("-") >= 3 else ("", "")
    if host == f"{zlib.crc32(socket.gethostname().encode()):08x}" and pid.isdecimal() and os.name == "posix":
        return not _alive(int(pid))
    with suppress(OSError):
        return time.time() - work.stat().st_mtime > ABANDONED
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
