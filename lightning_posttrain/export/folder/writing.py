"""Folders of exported models, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_posttrain.export.folder.card import card
from lightning_posttrain.export.folder.hashes import CARD, about, check_folder
from lightning_posttrain.export.folder.mlmodel import MLMODEL, mlmodel
from lightning_posttrain.export.folder.places import beside, check_place, swap, take_place, tidy
from lightning_posttrain.export.folder.running import FILES
from lightning_posttrain.export.manifest import MANIFEST, Manifest

_OURS = (CARD, MLMODEL, MANIFEST)


def write_folder(path: str | Path, manifest: Manifest, write: Callable[[Path], None]) -> Manifest:
    """Write an exported folder, whole or not at all: beside its place first, then in it in one step.

    An earlier export in its place is replaced. Whatever goes wrong, an error, a full disk or a killed process, leaves
    that one as it was; what a killed process left beside it is removed by the next one that writes there.

    Args:
        path: of the folder.
        manifest: what it says; its ``files`` are filled in.
        write: puts the files of the formats into a folder that is given to it.

    Returns:
        The manifest as it was written, with the SHA-256 and bytes of every other file.

    Raises:
        ValueError: something else is in its place, or an export with files that were added or edited; nothing of it is
            touched. Or ``write`` made what is no plain file.
        OSError: as of a full disk.
    """
    path = Path(path).resolve()
    tidy(path)
    check_place(path)
    with beside(path) as work:
        write(work)
        whole = _described(work, manifest)
        take_place(work, path)
    return whole


def update_manifest(
    folder: str | Path, change: Callable[[Manifest], Manifest], *, without: Collection[str] = ()
) -> Manifest:
    """Write the manifest and the card of an exported folder again; all other files stay as they are, or are left out.

    The folder is exchanged for one with the same files, so that at any time it is the earlier or the later one, whole.
    A card that somebody edited is kept as it is.

    Args:
        folder: of an export.
        change: from its manifest to the later one; its ``files`` are filled in.
        without: names of files that the later one has no more, as of a format that failed a test.

    Returns:
        The manifest as it was written.

    Raises:
        ValueError: as ``check_folder``.
    """
    folder = Path(folder).resolve()
    tidy(folder)
    before = check_folder(folder)
    edited = CARD in before.files and about(folder / CARD) != dict(before.files[CARD])
    with beside(folder) as work:
        shutil.copytree(folder, work, copy_function=second_name, symlinks=True, dirs_exist_ok=True)
        gone = {*without, MLMODEL} if FILES["onnx"] in without else {*without}
        for name in gone & before.files.keys():
            (work / name).unlink()
        kept = {name: about for name, about in before.files.items() if name not in gone}
        whole = replace(change(before), files=kept)
        if not edited:
            whole = _with_card(work, whole)
        _write(work / MANIFEST, whole.to_json())
        swap(work, folder)
    return whole


def _described(work: Path, manifest: Manifest) -> Manifest:
    """The manifest of the files that were written, itself written beside them with the card and ``MLmodel``."""
    for made in work.iterdir():
        if made.is_symlink() or not made.is_file() or made.name in _OURS:
            raise ValueError(f"`write` made '{made.name}', wanted plain files of other names than {', '.join(_OURS)}.")
    whole = replace(manifest, files=_about(work))
    if FILES["onnx"] in whole.files:
        _write(work / MLMODEL, mlmodel(whole))
        whole = replace(whole, files=_about(work))
    whole = _with_card(work, whole)
    _write(work / MANIFEST, whole.to_json())
    for name in whole.files:  # safetensors lets its own user alone read, and servers run as others
        shutil.copymode(work / MANIFEST, work / name)
    return whole


def _with_card(work: Path, manifest: Manifest) -> Manifest:
    _write(work / CARD, card(manifest))
    return replace(manifest, files={**manifest.files, CARD: about(work / CARD)})


def _about(work: Path) -> dict[str, Any]:
    return {made.name: about(made) for made in sorted(work.iterdir())}


def _write(path: Path, text: str) -> None:
    """Write a file that may be a second name of another's content, and leave that content alone."""
    path.unlink(missing_ok=True)
    path.write_bytes(text.encode("utf-8", errors="replace"))


def second_name(source: str | Path, target: str | Path) -> None:
    """A second name for a file, or a copy where the file system has none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)
