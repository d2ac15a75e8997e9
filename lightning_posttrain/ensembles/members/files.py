"""Where checkpoints are: those of a run, and those that a user says."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.ensembles.fit import FOLDER, NAME
from lightning_posttrain.ensembles.members.state import MemberState, with_names

Said = str | Path
SUFFIX = ".ckpt"
GIVEN = "Pass the path of a checkpoint, a folder of some, a glob as 'runs/*/checkpoints/*.ckpt', or a list of these."


def checkpoints_of(trainer: Any) -> list[Path]:
    """The checkpoints of a run that there are on disk, whichever callback of either namespace has written them.

    Those that a callback names, and all others in its folder: without ``monitor`` it names only the newest, and after
    ``trainer.test(ckpt_path="best")`` those of the moment in which that file was written. Links are followed.

    Args:
        trainer: of the run.
    """
    found: list[Path] = []
    for callback in attribute(trainer, "callbacks", ()):
        kept = attribute(callback, "best_k_models")
        if isinstance(kept, dict) and attribute(callback, "dirpath", kept) is not kept:
            single = (attribute(callback, name, "") for name in ("best_model_path", "last_model_path"))
            named = [Path(path) for path in (*kept, *single) if path]
            folders = [Path(callback.dirpath)] if callback.dirpath else [path.parent for path in named]
            found += [*named, *(file for folder in folders for file in _inside(folder))]
    return _files(found)


def checkpoints_at(said: Said | Sequence[Said]) -> list[Path]:
    """The checkpoints that a user says: a path, a folder, a glob, or a list of these.

    Args:
        said: relative to the working directory; in a folder, and in those below it, all that end in ``.ckpt``.

    Raises:
        ValueError: there is none at one of them.
    """
    each = [said] if isinstance(said, (str, Path)) else list(said)
    return _files(path for one in each for path in _at(one))


def _at(said: Said) -> list[Path]:
    """The checkpoints at one of the places."""
    if not isinstance(said, (str, Path)):
        raise ValueError(f"`members` has a {type(said).__name__}. {GIVEN}")
    path = Path(said).expanduser()
    if path.is_dir():
        found = [file for file in sorted(path.rglob(f"*{SUFFIX}")) if not _is_average(file)]
    elif path.exists():
        found = [path]
    else:
        wide = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 - those of Path are relative
        found = [file for file in wide if not _is_average(file)]
    if not any(file.is_file() for file in found):
        raise ValueError(f"`members`: there is no checkpoint at {path}. {GIVEN}")
    return found


def _is_average(file: Path) -> bool:
    """Whether a file is an average of members that an ensemble has written beside its fit; it is none of them."""
    return file.parent.name == FOLDER and (file.parent / NAME).exists()


def distinct(members: Sequence[MemberState]) -> list[MemberState]:
    """Members without those whose weights another one has, as of ``last.ckpt``; their names differ.

    Args:
        members: of the same kind of module.
    """
    first: dict[tuple[float, ...], MemberState] = {}
    for member in members:
        first.setdefault(member.mark, member)
    return with_names(list(first.values()))


def as_loaded(members: Sequence[MemberState]) -> list[MemberState]:
    """Of each file the weights that it is loaded with."""
    first = {member.source: member for member in reversed(members)}
    return [member for member in members if first[member.source] is member]


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


def _files(paths: Iterable[Path]) -> list[Path]:
    """Those that exist, each once, in the order in which people count."""
    found = dict.fromkeys(_resolved(paths))
    return sorted(found, key=_natural)


def _resolved(paths: Iterable[Path]) -> Iterator[Path]:
    return (path.resolve() for path in paths if path.is_file())


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Orders names with numbers by these, so that ``epoch=10`` comes after ``epoch=9``."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
