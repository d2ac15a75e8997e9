"""Rows in ``.npz`` and ``.npy`` files: what a model takes, and what is known of its answers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import final

import numpy as np

from lightning_posttrain.export.signature import DECISION, NUMBERS, PROBABILITIES, Array, Signature

TARGET = "target"
KNOWN = (PROBABILITIES, DECISION, TARGET)
PIECE = 1024
"""Rows of a file that are answered at once."""


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows, with what is known of them.

    Args:
        inputs: as the model takes them, by name.
        known: ``probabilities``, ``decision`` and ``target``, as far as the file has them.
    """

    inputs: Mapping[str, Array]
    known: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def files_of(data: Sequence[str | Path]) -> list[Path]:
    """The files that paths, folders and patterns name, each once.

    Args:
        data: paths of ``.npz`` and ``.npy`` files; folders of them; patterns as ``"rows/*.npz"``.

    Raises:
        ValueError: one names no such file.
    """
    found: dict[Path, None] = {}
    for given in data:
        path = Path(given)
        if path.is_dir():
            named = [each for each in sorted(path.iterdir()) if each.suffix in (".npz", ".npy")]
        else:
            named = [path] if path.is_file() else [Path(each) for each in sorted(glob(str(given)))]  # noqa: PTH207
        wrong = [each for each in named if each.suffix not in (".npz", ".npy") or not each.is_file()]
        if wrong or not named:
            what = f"'{wrong[0]}'" if wrong else "nothing"
            raise ValueError(f"`data` has {str(given)!r}, where {what} is found, wanted files `.npz` or `.npy`.")
        found.update(dict.fromkeys(named))
    if not found:
        raise ValueError("`data` is empty, wanted files `.npz` or `.npy`.")
    return list(found)


def rows_of(path: Path, signature: Signature) -> Iterator[Rows]:
    """The rows of a file in pieces.

    Args:
        path: an ``.npz`` with an array for each input, by its name, or with one array for the one input; and, where
            known, ``probabilities``, ``decision`` and ``target``. Or an ``.npy`` with the one input.
        signature: what the model takes.

    Raises:
        ValueError: the file is damaged or holds pickles; names, shapes or numbers of rows are others.
    """
    arrays = _read(path)
    inputs, known = _sorted_out(path, arrays, signature)
    lengths = {name: array.shape[:1] for name, array in {**inputs, **known}.items()}
    if len(set(lengths.values())) > 1 or () in lengths.values():
        raise ValueError(f"'{path.name}' has arrays of different numbers of rows: {_listed(arrays)}.")
    number = next(iter(lengths.values()))[0]
    if not number:
        raise ValueError(f"'{path.name}' has no rows.")
    for start in range(0, number, PIECE):
        piece = slice(start, start + PIECE)
        try:
            taken = signature.of({name: array[piece] for name, array in inputs.items()})
        except ValueError as error:
            raise ValueError(f"'{path.name}', rows from {start}: {error}") from None
        yield Rows(taken, {name: array[piece] for name, array in known.items()})


def _read(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {path.stem: loaded}
            return {name: np.asarray(loaded[name]) for name in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, MemoryError) as error:
        raise ValueError(
            f"'{path.name}' is not read: {error} Wanted arrays of numbers, as `numpy.savez` writes them."
        ) from None


def _sorted_out(
    path: Path, arrays: Mapping[str, Array], signature: Signature
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs by their names, and what is known."""
    names = [spec.name for spec in signature.inputs]
    inputs = {name: array for name, array in arrays.items() if name in names}
    known = {name: array for name, array in arrays.items() if name in KNOWN and name not in names}
    rest = [name for name in arrays if name not in inputs and name not in known]
    if len(names) == 1 and not inputs and len(rest) == 1:
        inputs = {names[0]: arrays[rest.pop()]}
    if text := [name for name, array in known.items() if array.dtype.kind not in NUMBERS]:
        raise ValueError(f"'{path.name}' has `{text[0]}` of {known[text[0]].dtype}, wanted numbers.")
    if set(inputs) != set(names) or rest:
        wanted = f"{', '.join(names)}, and, where known, {', '.join(KNOWN)}"
        raise ValueError(f"'{path.name}' has {_listed(arrays) or 'no array'}, wanted {wanted}.")
    return inputs, known


def _listed(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
