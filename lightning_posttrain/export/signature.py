"""What a model takes and gives: names, types and shapes of tensors, and whether arrays are such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

PROBABILITIES, DECISION = "probabilities", "decision"
"""Names of the two outputs of every model that is exported."""
MOST_ROWS = 65536
"""Of a batch."""
NUMBERS = frozenset("fiub")
"""Kinds of NumPy's types that models take: floats, whole numbers, truth values."""

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor that a model takes or gives.

    Args:
        name: of the argument, or of the output.
        dtype: as NumPy calls it, as ``"float32"``: floats, whole numbers or truth values.
        shape: the length of each dimension, None where any will do; the first is the batch, which is None.

    Raises:
        ValueError: it is none of these.

    Example:
        >>> TensorSpec("x", "float32", (None, 1, 8, 8)).words
        'float32 (N, 1, 8, 8)'
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("`name` is empty, wanted that of a tensor.")
        if _kind(self.dtype) not in NUMBERS:
            raise ValueError(f"`dtype` of '{self.name}' is {self.dtype!r}, wanted a type of NumPy as 'float32'.")
        if not self.shape or self.shape[0] is not None or any(n is not None and n < 1 for n in self.shape):
            raise ValueError(f"`shape` of '{self.name}' is {self.shape}, wanted None, the batch, then None or lengths.")

    @property
    def words(self) -> str:
        """Type and shape as people write them; the batch is ``N``, other free lengths are ``?``."""
        rest = ["?" if size is None else str(size) for size in self.shape[1:]]
        return f"{self.dtype} ({', '.join(['N', *rest])}{'' if rest else ','})"

    def of(self, given: ArrayLike) -> Array:
        """Rows as the model takes them: whole numbers become floats where floats are wanted, and other floats these.

        Args:
            given: what NumPy makes an array of, with a first dimension of rows.

        Raises:
            ValueError: it has another shape or type, no row or more than ``MOST_ROWS``, or numbers that are not finite.
        """
        try:
            array = np.asarray(given)
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"`{self.name}` is no array: {error} Wanted {self.words}.") from None
        if not self._fits(array.shape):
            raise ValueError(f"`{self.name}` has shape {array.shape}, wanted {self.words}.")
        if not 1 <= len(array) <= MOST_ROWS:
            raise ValueError(f"`{self.name}` has {len(array)} rows, wanted 1 to {MOST_ROWS}. Give more in parts.")
        wanted = np.dtype(self.dtype)
        if array.dtype != wanted and not _becomes(array, wanted):
            raise ValueError(f"`{self.name}` is of {array.dtype}, wanted {self.words}.")
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(array, dtype=wanted)
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise ValueError(f"`{self.name}` has a number that is not finite as {self.dtype}. Wanted {self.words}.")
        return rows

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Whether rows may have this shape; their number is another question."""
        pairs = zip(self.shape[1:], shape[1:], strict=False)
        return len(shape) == len(self.shape) and all(has == (wanted or max(has, 1)) for wanted, has in pairs)


def _kind(dtype: str) -> str:
    try:
        return np.dtype(dtype).kind
    except TypeError:
        return ""


def _becomes(array: Array, wanted: np.dtype[Any]) -> bool:
    """Whether an array of one type may be given where another is wanted: nothing but rounding is lost."""
    if wanted.kind == "f":
        return array.dtype.kind in "fiu"
    if wanted.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(wanted)
        return bool(array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max))
    return False


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Args:
        inputs: by the order of its arguments.
        outputs: ``probabilities`` and ``decision``.

    Raises:
        ValueError: there is no input, or two of one name.

    Example:
        >>> signature = Signature((TensorSpec("x", "float32", (None, 2)),), ())
        >>> signature.of([[1, 2]])
        {'x': array([[1., 2.]], dtype=float32)}
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.inputs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`inputs` are {names}, wanted one or more tensors of different names.")

    def of(self, rows: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Rows by the name of each input, as the model takes them.

        Args:
            rows: an array where there is one input, else a dict of arrays.

        Raises:
            ValueError: an input is missing, unknown or wrong, or two have different numbers of rows.
        """
        given = rows if isinstance(rows, Mapping) else self._single(rows)
        names = [spec.name for spec in self.inputs]
        if set(given) != set(names):
            raise ValueError(f"`rows` has {sorted(map(str, given))}, wanted {names}.")
        arrays = {spec.name: spec.of(given[spec.name]) for spec in self.inputs}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"inputs have different numbers of rows: {lengths}.")
        return arrays

    def _single(self, rows: ArrayLike) -> Mapping[str, ArrayLike]:
        if len(self.inputs) > 1:
            raise ValueError(f"`rows` is one array, wanted a dict of {[spec.name for spec in self.inputs]}.")
        return {self.inputs[0].name: rows}

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a free length is -1."""
        return {"inputs": [_plain(spec) for spec in self.inputs], "outputs": [_plain(spec) for spec in self.outputs]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Signature:
        """What ``to_dict`` gave.

        Raises:
            ValueError: it is something else, or of other outputs than ``probabilities`` and ``decision``.
        """
        try:
            read = cls(*(tuple(map(_spec, saved[key])) for key in ("inputs", "outputs")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"'signature' is {saved!r}, which is none: {error}.") from None
        if {spec.name for spec in read.outputs} != {PROBABILITIES, DECISION} or len(read.outputs) != 2:
            names = [spec.name for spec in read.outputs]
            raise ValueError(f"'signature' has outputs {names}, wanted '{PROBABILITIES}' and '{DECISION}'.")
        return read


def _plain(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": [-1 if n is None else n for n in spec.shape]}


def _spec(saved: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(None if n == -1 else int(n) for n in saved["shape"])
    return TensorSpec(str(saved["name"]), np.dtype(saved["dtype"]).name, shape)
