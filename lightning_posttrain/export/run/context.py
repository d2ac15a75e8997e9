"""What everything that an export does in a run has in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_posttrain.classification import ClassReading
from lightning_posttrain.export.folder.places import check_place, tidy
from lightning_posttrain.export.run.settings import Settings

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@dataclass(frozen=True, eq=False)
class Context:
    """A run, and what its export is to be.

    Args:
        trainer: of the run.
        module: of it.
        reading: of its scores.
        settings: what the user said.
        names: of the classes.
        place: the path of the folder.
    """

    trainer: Trainer
    module: LightningModule
    reading: ClassReading
    settings: Settings
    names: tuple[str, ...]
    place: str

    @property
    def model_name(self) -> str:
        """Of the user's class."""
        return type(self.module).__name__

    @property
    def folder(self) -> Path:
        """The path, whole."""
        return Path(self.place).resolve()

    def make_ready(self) -> None:
        """See that the folder may be written, and remove what a killed process has left beside it.

        Raises:
            ValueError: something that is not ours is in its place.
        """
        tidy(self.folder)
        check_place(self.folder)
