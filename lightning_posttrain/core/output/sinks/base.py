"""The one method of a sink."""

from __future__ import annotations

from typing import Protocol

from lightning_posttrain.core.output.artifacts import Artifact


class Sink(Protocol):
    """Somewhere that artifacts are kept."""

    disk: str | None
    """A folder on the disk that it fills, where it is one that can be asked for its free space."""

    def write(self, tag: str, artifact: Artifact, step: int) -> None:
        """Keep ``artifact`` under ``tag``, as ``"val/confusion_matrix"``; ignore a kind that has no place here."""

    def __str__(self) -> str:
        """Where that is, in a person's words."""
