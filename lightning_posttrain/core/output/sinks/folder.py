"""Files in a folder, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import secrets
import zlib
from pathlib import Path
from typing import final

from lightning_posttrain.core.output.artifacts import (
    Artifact,
    ChartLayout,
    Cleared,
    File,
    Image,
    Picture,
    PrecisionRecall,
    Table,
)
from lightning_posttrain.core.output.sinks.encode import SUFFIXES, encoded
from lightning_posttrain.core.output.sinks.runs import Run
from lightning_posttrain.core.output.sinks.stores import LocalStore, Notice, RemoteStore, Store


@final
class FolderSink:
    """Keeps the latest artifact of each tag as PNG, JPEG, CSV or other file.

    Args:
        folder: made when first written to; a path, or a URL that fsspec knows, as Lightning's own folders.
            ``"val/confusion_matrix"`` becomes ``val/confusion_matrix.png`` in it.
        run: who writes; told from others in the folder's record.
    """

    def __init__(self, folder: str | Path, run: Run | None = None) -> None:
        self.folder = str(folder)
        remote = "://" in self.folder
        self._store: Store = RemoteStore(self.folder) if remote else LocalStore(self.folder)
        self.disk = None if remote else self.folder
        self._run = run or Run(secrets.token_hex(4))
        self._begun = False
        self._notices: list[Notice] = []

    def __str__(self) -> str:
        return self.folder

    @property
    def unrecorded(self) -> bool:
        """Whether there were files before, but no record of whose they are, as earlier versions kept none."""
        return self._store.unrecorded

    def write(self, tag: str, artifact: Artifact, step: int) -> None:
        """Write a file, replacing an older one of the same tag; ``step`` has no place in its name.

        Raises:
            NotOurs: a file that is not ours, or a link, is in its place.
        """
        if isinstance(artifact, (PrecisionRecall, ChartLayout)) or getattr(artifact, "loggers_only", False):
            return
        self._begin()
        name = "/".join(map(safe_name, tag.split("/")))
        if isinstance(artifact, Cleared):
            self._clear(name)
            return
        suffix, content = _encode(artifact)
        self._store.put(name + suffix, content)
        # a picture that was a photograph before, or was none: the older file goes when the new one is there
        for other in SUFFIXES if isinstance(artifact, (Image, Picture)) else ():
            if other != suffix:
                self._store.remove(name + other)

    def of_run(self, run: Run) -> None:
        """What follows is written by a run, perhaps another one."""
        self._run, self._begun = run, False

    def end(self) -> None:
        """The run is over."""
        if self._begun:
            self._store.end(self._run)
        self._begun = False

    def notices(self) -> list[Notice]:
        """What is to be said of the folder, once."""
        found, self._notices = self._notices, []
        return found

    def _begin(self) -> None:
        if not self._begun:
            self._notices += self._store.begin(self._run)
            self._begun = True

    def _clear(self, name: str) -> None:
        """Remove pictures of ours; folders stay."""
        for each in self._store.names():
            if each.endswith(SUFFIXES) and (each.startswith(f"{name}/") or each.rpartition(".")[0] == name):
                self._store.remove(each)


def safe_name(name: str) -> str:
    """``name`` as any file system takes it; where that changes it, with a mark that keeps it apart from others.

    Example:
        >>> safe_name("recall"), safe_name("a:b*"), safe_name("..")
        ('recall', 'a_b_-0752efcf', '-9608161c')
    """
    kept = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in name)[:100].rstrip(". ")
    reserved = kept.split(".")[0].lower() in _RESERVED
    return kept if kept == name and not reserved else marked(kept, name)


def marked(kept: str, name: str) -> str:
    """What is kept of a name, with a mark that keeps it apart from what is kept of others."""
    return f"{kept}-{zlib.crc32(name.encode(errors='backslashreplace')):08x}"


_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))}


def _encode(artifact: Image | Picture | Table | File) -> tuple[str, bytes]:
    if isinstance(artifact, Table):
        return ".csv", _csv(artifact)
    if isinstance(artifact, Image):
        artifact = encoded(artifact)
    return artifact.suffix, artifact.content


def _csv(table: Table) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode(errors="backslashreplace")
