"""SHA-256 of the files of an exported folder, and whether they are those that were written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lightning_posttrain.export.manifest import MANIFEST, Manifest

CARD = "README.md"
"""For people, who may add to it, as a licence: it is listed with its hash, and may be another."""
MOST_MANIFEST = 64 * 2**20
"""Bytes of a manifest that are read."""


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def about(path: Path) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an exported folder.

    Raises:
        ValueError: there is none, or it is none of this package.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ValueError(f"`folder` is {str(folder)!r}, where there is no folder. Give that of an export.")
    _check_plain(path)
    if path.stat().st_size > MOST_MANIFEST:
        raise ValueError(f"{MANIFEST} has {path.stat().st_size} bytes, wanted {MOST_MANIFEST} at most.")
    return Manifest.from_json(path.read_bytes())


def check_folder(folder: str | Path) -> Manifest:
    """Check that each file of an exported folder is the one that was written.

    Files that the manifest does not list are not looked at, and nothing of this package opens them. ``README.md`` may
    be edited. A hash in the same folder tells damage and slips. It proves no origin: who can change a file can change
    the manifest too.

    Args:
        folder: with ``manifest.json``.

    Returns:
        The manifest.

    Raises:
        ValueError: a file is missing, was changed, or is a link; or the manifest is none of this package, was changed,
            or lists names that are no plain ones.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, written in manifest.files.items():
        _check_plain(folder / name)
        if name != CARD:
            _check_same(folder / name, written)
    return manifest


def changed(folder: Path, manifest: Manifest) -> list[str]:
    """Files in a folder that are not as its manifest lists them, the card included: others' files, or others' work."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name != MANIFEST
        and (path.is_symlink() or not path.is_file() or about(path) != dict(manifest.files.get(path.name, {})))
    )


def _check_plain(path: Path) -> None:
    if path.is_symlink():
        raise ValueError(f"'{path.name}' is a link, wanted a file. Copy the folder with the files (`cp -rL`).")
    if not path.is_file():
        raise ValueError(f"'{path.name}' is missing in {str(path.parent)!r}. Copy the whole folder, or export again.")


def _check_same(path: Path, written: Any) -> None:
    size = path.stat().st_size
    if size != written["bytes"]:
        raise ValueError(
            f"'{path.name}' was changed: it has {size} bytes, the manifest says {written['bytes']}. "
            "Copy the folder again, or export again."
        )
    found = sha256(path)
    if found != written["sha256"]:
        raise ValueError(
            f"'{path.name}' was changed: its SHA-256 is {found}, the manifest says {written['sha256']}. "
            "Copy the folder again, or export again."
        )
