"""Files in a folder, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path
from typing import final

from PIL import Image as PILImage

from lightning_posttrain.artifacts import Artifact, File, Image, Table


@final
class FolderSink:
    """Keeps the latest artifact of each tag as PNG, CSV or other file.

    Args:
        folder: made when first written to. ``"val/confusion_matrix"`` becomes ``val/confusion_matrix.png`` in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def write(self, tag: str, artifact: Artifact, step: int) -> None:
        """Write a file, replacing an older one of the same tag; ``step`` has no place in its name."""
        suffix, content = _encode(artifact)
        parts = [safe_name(part) for part in tag.split("/")]
        path = self.folder.joinpath(*parts)
        _replace(path.with_name(path.name + suffix), content)


def safe_name(name: str) -> str:
    """``name`` with all that a file system may refuse, or read as a path, replaced by ``_``.

    Example:
        >>> safe_name("a:b*"), safe_name("..")
        ('a_b_', '_')
    """
    kept = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in name)
    return kept if kept.strip(". ") else "_"


def _encode(artifact: Artifact) -> tuple[str, bytes]:
    if isinstance(artifact, File):
        return artifact.suffix, artifact.content
    if isinstance(artifact, Image):
        buffer = io.BytesIO()
        PILImage.fromarray(artifact.pixels.numpy()).save(buffer, format="PNG")
        return ".png", buffer.getvalue()
    return ".csv", _csv(artifact)


def _csv(table: Table) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode()


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
