"""Where files are put: a local folder, or one that fsspec knows. Only what we wrote is overwritten or deleted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightning_posttrain.core.output.sinks.record import NAME, Record
from lightning_posttrain.core.output.sinks.runs import Run


class NotOurs(Exception):
    """A file, or a link, that is not ours is where one is to be written; it stays as it is.

    Args:
        place: the file or link.
        link: whether it is a link.
    """

    def __init__(self, place: str, *, link: bool) -> None:
        super().__init__(place)
        self.place = place
        self.link = link


@dataclass(frozen=True)
class Notice:
    """Something to say of a folder when a run begins to write there; ``loud``: as a warning."""

    text: str
    loud: bool = True


class Store(Protocol):
    """Keeps files by names with slashes."""

    @property
    def unrecorded(self) -> bool:
        """Whether there were files before, but no record of whose they are."""

    def begin(self, run: Run) -> list[Notice]:
        """A run begins to write; what is to be said of it."""

    def end(self, run: Run) -> None:
        """A run is over."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Delete a file if it is ours."""

    def names(self) -> list[str]:
        """Files that may be deleted."""


class LocalStore:
    """A folder on a disk.

    Links at it and in it are not followed: what they lead to is somebody else's. How its parents are reached is the
    user's choice.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._record = Record(self._folder)
        self._last = ""

    @property
    def unrecorded(self) -> bool:
        """Whether there were files before, but no record of whose they are."""
        return self._record.began_without

    def begin(self, run: Run) -> list[Notice]:
        """A run begins to write; what is to be said of it."""
        if self._folder.is_symlink():
            return []
        others = self._record.begin(run)
        notices = list(self._notices(run, [other for other in others if other.elsewhere()]))
        self._last = run.name
        return notices

    def _notices(self, run: Run, others: list[Run]) -> Iterator[Notice]:
        apart = "Give each run a folder of its own, by a logger or by default_root_dir"
        for other in others:
            yield Notice(
                f"{self._folder}: another run, process {other.pid} since {other.begun}, writes there at the same time, "
                f"and each replaces the other's files. {apart}."
            )
        if not self._record.kept:
            yield Notice(
                f"{self._folder / NAME} is not lightning_posttrain's, so that a later run will not know which files "
                "are, and will replace none. Move it away."
            )
        if run.anew and run.name != self._last and not others and self._record.names():
            yield Notice(
                f"{self._folder} holds files of an earlier run: those that this run writes too are replaced, the "
                f"others stay. {apart}, to keep both.",
                loud=False,
            )

    def end(self, run: Run) -> None:
        """A run is over."""
        # a folder that is gone or full needs no mark, nor one to which a thread that was given up still writes
        with contextlib.suppress(OSError, RuntimeError):
            if not self._folder.is_symlink():
                self._record.end(run)

    def names(self) -> list[str]:
        """Files that may be deleted."""
        return self._record.names()

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            NotOurs: one of somebody else, or a link, is in its place.
        """
        path = self._folder / name
        self._keep_off_links(name)
        if path.is_symlink() or (path.exists() and not self._record.ours(name)):
            raise NotOurs(str(path), link=path.is_symlink())
        path.parent.mkdir(parents=True, exist_ok=True)
        # not by tempfile, whose files are private: to ask for the umask is to change it, also for the main thread
        beside = path.with_name(self._record.note(name, content))
        try:
            with beside.open("xb") as file:
                file.write(content)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        """Delete a file if it is ours."""
        path = self._folder / name
        with contextlib.suppress(NotOurs):
            self._keep_off_links(name)
            if not path.is_symlink() and self._record.ours(name):
                path.unlink(missing_ok=True)
                self._record.forget(name)

    def _keep_off_links(self, name: str) -> None:
        for place in (self._folder / parent for parent in reversed(Path(name).parents)):
            if place.is_symlink():
                raise NotOurs(str(place), link=True)


class RemoteStore:
    """A folder that fsspec knows, where to list costs: deleted is what this process wrote."""

    unrecorded = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._written: set[str] = set()

    def begin(self, run: Run) -> list[Notice]:
        """A run begins; of others nothing is known."""
        return []

    def end(self, run: Run) -> None:
        """A run is over."""

    def names(self) -> list[str]:
        """Files that may be deleted."""
        return sorted(self._written)

    def put(self, name: str, content: bytes) -> None:
        """Write a file; object stores show it when it is complete."""
        import fsspec

        with fsspec.open(f"{self._url}/{name}", "wb", auto_mkdir=True) as file:
            file.write(content)
        self._written.add(name)

    def remove(self, name: str) -> None:
        """Delete a file that this process wrote."""
        import fsspec

        if name in self._written:
            system, path = fsspec.core.url_to_fs(f"{self._url}/{name}")
            if system.exists(path):
                system.rm(path)
            self._written.discard(name)
