"""The files of one stage, as sections ask for them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

from lightning_posttrain.core.output.run_folder import RunFolder

PAGE, SUMMARY = "report.html", "report.md"
PICTURES = (".png", ".jpg")


@final
class Sources:
    """Reads what a run left, and keeps which files could not be read.

    Args:
        folder: of the run.
        stage: that the page is of, as ``"test"``.

    Attributes:
        place: the stage's folder, in which the page will stand.
        unreadable: files that are there but cannot be read.
    """

    def __init__(self, folder: RunFolder, stage: str) -> None:
        self.folder = folder
        self.stage = stage
        self.place = folder.home / stage
        self.unreadable: list[Path] = []
        self.run: dict[str, Any] = folder.run
        self._read: dict[str, dict[str, Any]] = {}

    def record(self, name: str, *, other: str = "") -> dict[str, Any]:
        """A result's JSON, its own or else that of a callback with a name or of a second loader; empty without one.

        Args:
            name: as ``"calibration"``.
            other: a stage to look in where this one has none.
        """
        if name not in self._read:
            self._read[name] = self._record(name, other)
        return self._read[name]

    def _record(self, name: str, other: str) -> dict[str, Any]:
        for stage in filter(None, (self.stage, other)):
            for path in self._records(name, stage):
                place = path.relative_to(self.folder.home / stage).with_suffix("")
                found = self.folder.record(stage, place.as_posix())
                if found is not None:
                    return found
                if path not in self.unreadable:
                    self.unreadable.append(path)
        return {}

    def beside(self, name: str) -> Path:
        """The folder of what was written with a record, as the pictures of ``"hard_examples"``."""
        return next((path.with_suffix("") for path in self._records(name, self.stage)), self.place / name)

    def _records(self, name: str, stage: str) -> list[Path]:
        place = self.folder.home / stage
        named = (place / f"{name}.json", *sorted(place.glob(f"*/{name}.json")))
        return [path for path in named if path.is_file()]

    @property
    def independent(self) -> bool:
        """Whether rows count each by itself, as positions of one image do not."""
        report = self.record("classification_report")
        return not report or bool(report.get("intervals"))

    def table(self, path: Path) -> list[dict[str, str]]:
        """The rows of a CSV file; none without one."""
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        except (csv.Error, UnicodeDecodeError):
            self.unreadable.append(path)
            return []

    def picture(self, name: str) -> Path | None:
        """A picture of the stage, whatever its format."""
        return next((path for path in (self.place / f"{name}{end}" for end in PICTURES) if path.is_file()), None)

    def link(self, path: Path) -> str:
        """The address of a file as seen from the page."""
        return quote(Path(relpath(path, self.place)).as_posix())

    def files(self) -> Iterator[Path]:
        """All files of the run but those of the page and hidden ones."""
        for path in sorted(self.folder.home.rglob("*")):
            hidden = path.name.startswith(".")
            if path.is_file() and not hidden and path.name not in (PAGE, SUMMARY):
                yield path
