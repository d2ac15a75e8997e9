"""Files in a folder, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import secrets
import zlib
from pathlib import Path
from typing import final

from lightning_posttrain.core.output.artifacts import Artifact, Cleared, File, Image, PrecisionRecall, Table
from lightning_posttrain.core.output.sinks.encode import SUFFIXES, encoded


@final
class FolderSink:
    """Keeps the latest artifact of each tag as PNG, JPEG, CSV or other file.

    Args:
        folder: made when first written to; a path, or a URL that fsspec knows, as Lightning's own folders.
            ``"val/confusion_matrix"`` becomes ``val/confusion_matrix.png`` in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)

    def __str__(self) -> str:
        return self.folder

    def write(self, tag: str, artifact: Artifact, step: int) -> None:
        """Write a file, replacing an older one of the same tag; ``step`` has no place in its name."""
        if isinstance(artifact, PrecisionRecall):
            return
        if isinstance(artifact, Cleared):
            self._clear(tag)
            return
        suffix, content = _encode(artifact)
        place = self._place(tag)
        put, remove = (_put, _remove) if "://" in place else (_replace, _unlink)
        put(place + suffix, content)
        # a picture that was a photograph before, or was none: the older file goes when the new one is there
        for other in SUFFIXES if isinstance(artifact, Image) else ():
            if other != suffix:
                remove(place + other)

    def _place(self, tag: str) -> str:
        return "/".join([self.folder, *map(safe_name, tag.split("/"))])

    def _clear(self, tag: str) -> None:
        """Remove pictures; folders stay, and on a remote store, where to list costs, so do pictures."""
        place = self._place(tag)
        if "://" in place:
            return
        files = [Path(place + suffix) for suffix in SUFFIXES]
        for path in (*files, *(path for suffix in SUFFIXES for path in Path(place).rglob(f"*{suffix}"))):
            path.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """``name`` as any file system takes it; where that changes it, with a mark that keeps it apart from others.

    Example:
        >>> safe_name("recall"), safe_name("a:b*"), safe_name("..")
        ('recall', 'a_b_-0752efcf', '-9608161c')
    """
    kept = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in name)[:100].rstrip(". ")
    reserved = kept.split(".")[0].lower() in _RESERVED
    return kept if kept == name and not reserved else f"{kept}-{zlib.crc32(name.encode(errors='backslashreplace')):08x}"


_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))}


def _encode(artifact: Image | Table | File) -> tuple[str, bytes]:
    if isinstance(artifact, File):
        return artifact.suffix, artifact.content
    if isinstance(artifact, Image):
        return encoded(artifact)
    return ".csv", _csv(artifact)


def _csv(table: Table) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode(errors="backslashreplace")


def _put(url: str, content: bytes) -> None:
    """Object stores show a file when it is complete."""
    import fsspec

    with fsspec.open(url, "wb", auto_mkdir=True) as file:
        file.write(content)


def _remove(url: str) -> None:
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    if system.exists(path):
        system.rm(path)


def _replace(place: str, content: bytes) -> None:
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    # not by tempfile, whose files are private: to ask for the umask is to change it, also for the main thread
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _unlink(place: str) -> None:
    Path(place).unlink(missing_ok=True)
