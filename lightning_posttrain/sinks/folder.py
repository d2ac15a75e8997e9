"""Files in a folder, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import zlib
from pathlib import Path
from typing import final

from PIL import Image as PILImage

from lightning_posttrain.artifacts import Artifact, File, Image, PrecisionRecall, Table


@final
class FolderSink:
    """Keeps the latest artifact of each tag as PNG, CSV or other file.

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
        suffix, content = _encode(artifact)
        place = "/".join([self.folder, *map(safe_name, tag.split("/"))]) + suffix
        if "://" in place:
            _put(place, content)
        else:
            _replace(Path(place), content)


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
        buffer = io.BytesIO()
        PILImage.fromarray(artifact.pixels.numpy()).save(buffer, format="PNG")
        return ".png", buffer.getvalue()
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
