"""Which files of a folder are ours: a record beside them, by which nobody else's is overwritten or deleted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_posttrain.core.output.sinks.runs import Run

NAME = ".written.jsonl"
_HEAD = {"lightning_posttrain": "the files that it wrote here; it overwrites and deletes no others"}
_SPARE = 2_000
"""Lines beyond those that are needed, after which the record is written anew."""
_RUNS = 8
"""As many that never ended are remembered."""


class Record:
    """What was written to a local folder, with which content, and by which runs.

    A file is ours while its content is what was noted for its name last, or the time before. What is to be written is
    noted first, so that the process may be killed at any moment. One that somebody changed since is theirs. A line is
    added for each file, so that two runs at once lose little of each other.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._files: dict[str, tuple[str, ...]] = {}
        self._beside: dict[str, str] = {}
        self._runs: dict[str, Run] = {}
        self._lines = 0
        self.kept = True
        """Whether it may be on the disk: not where something of somebody else has its name."""
        self.began_without = False
        """Whether the folder had files, but no record, when it was first looked at."""

    def begin(self, run: Run) -> list[Run]:
        """Note a run; the others that did not end, as they still write or were killed."""
        self.began_without = not self._path.exists() and self._folder.is_dir() and any(self._folder.iterdir())
        self._load()
        others = [other for other in self._runs.values() if other.name != run.name]
        if not any(other.elsewhere() for other in others):
            self._tidy()
        self._files = {name: marks for name, marks in self._files.items() if (self._folder / name).is_file()}
        kept = [other for other in others if other.elsewhere() or other.host != run.host][-_RUNS:]
        self._runs = {each.name: each for each in (*kept, run)}
        self._save()
        return others

    def end(self, run: Run) -> None:
        """Note that a run is over."""
        self._runs.pop(run.name, None)
        if self.kept and self._path.exists():
            self._add({"ended": run.name})

    def names(self) -> list[str]:
        """Of all files that were noted, from the folder on, with slashes."""
        return list(self._files)

    def ours(self, name: str) -> bool:
        """Whether a file has the content that we gave it, or another run of ours did meanwhile."""
        if not self._marked(name):
            self._load()
        return self._marked(name)

    def note(self, name: str, content: bytes) -> str:
        """Note what is to be written; the name of a file beside it, in which it is written first."""
        beside = f".{Path(name).name}.{secrets.token_hex(4)}"
        line = {"file": name, "content": _mark(content), "beside": beside}
        self._add(line)
        self._take(line)
        return beside

    def forget(self, name: str) -> None:
        """A file was deleted."""
        self._files.pop(name, None)

    def _marked(self, name: str) -> bool:
        path, marks = self._folder / name, self._files.get(name, ())
        with contextlib.suppress(FileNotFoundError):
            size = f"{path.stat().st_size}:"  # a large one of somebody else is not read to be told apart
            return any(mark.startswith(size) for mark in marks) and _mark(path.read_bytes()) in marks
        return False

    def _load(self) -> None:
        """Know what is noted; the last line may be cut off."""
        if not self._path.is_symlink() and not self._path.exists():
            return
        lines = [] if self._path.is_symlink() else list(_lines(self._path))
        self.kept = lines[:1] == [_HEAD]
        if self.kept:
            self._runs = {}
            for line in lines:
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "file" in line:
            self._files[line["file"]] = (*self._files.get(line["file"], ()), line["content"])[-2:]
            self._beside[line["file"]] = line["beside"]
        if "run" in line:
            self._runs[line["run"]["name"]] = Run(**line["run"])
        if "ended" in line:
            self._runs.pop(line["ended"], None)

    def _tidy(self) -> None:
        """What a killed process left half written goes."""
        for name, beside in self._beside.items():
            if beside:
                (self._folder / name).with_name(beside).unlink(missing_ok=True)
        self._beside = {}

    def _add(self, line: dict[str, Any]) -> None:
        if not self.kept:
            return
        if not self._path.exists():
            self._save()
        elif self._lines > len(self._files) + _SPARE:
            self._load()
            self._save()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._lines += 1

    def _save(self) -> None:
        if not self.kept:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        files = ({"file": name, "content": mark, "beside": ""} for name, marks in self._files.items() for mark in marks)
        lines = [_HEAD, *({"run": vars(run)} for run in self._runs.values()), *files]
        beside = self._path.with_name(f"{NAME}.{secrets.token_hex(4)}")
        try:
            beside.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            beside.replace(self._path)
        finally:
            beside.unlink(missing_ok=True)
        self._lines = len(lines)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict):
                yield line


def _mark(content: bytes) -> str:
    return f"{len(content)}:{hashlib.blake2b(content, digest_size=8).hexdigest()}"
