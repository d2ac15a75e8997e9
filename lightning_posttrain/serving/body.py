"""Questions that clients send: JSON, NumPy arrays and pictures, told apart by their first bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from lightning_posttrain.export import Manifest
from lightning_posttrain.serving import image, npy
from lightning_posttrain.serving.refusal import RefusedError
from lightning_posttrain.serving.rows import Checked, checked_rows

FORMS = ("row", "rows", "inputs")
"""Keys of a JSON body, one of which it has."""


@final
@dataclass(frozen=True)
class Question:
    """What a client asks.

    Args:
        rows: of each row its arrays, or what is wrong with it.
        single: whether it is one row, whose answer stands alone.
    """

    rows: Checked
    single: bool = False


def question(body: bytes, manifest: Manifest, *, most_rows: int) -> Question:
    """What a body asks; the content type is not looked at.

    Args:
        body: JSON, ``.npy``, PNG or JPEG.
        manifest: of the model.
        most_rows: of a request.

    Raises:
        RefusedError: it is none of these, or has no row, or too many.
    """
    if body.startswith(npy.MAGIC):
        rows = npy.rows(body, manifest.signature)
        _count(len(rows), most_rows)
        return Question(checked_rows(rows, manifest.signature))
    if image.is_picture(body):
        return Question([image.row(body, manifest)], single=True)
    return _json_question(body, manifest, most_rows)


def is_slow(body: bytes) -> bool:
    """Whether reading a body takes so long that others should not wait for it."""
    return len(body) > 1 << 16 or image.is_picture(body)


def _json_question(body: bytes, manifest: Manifest, most_rows: int) -> Question:
    form, value = _form(_parsed(body))
    if form == "row":
        rows: Sequence[Any] = [value]
    elif form == "rows":
        rows = _listed(value, "rows")
    else:
        rows = _of_inputs(value, [spec.name for spec in manifest.signature.inputs])
    _count(len(rows), most_rows)
    booleans = b"true" in body or b"false" in body
    return Question(checked_rows(rows, manifest.signature, booleans=booleans), single=form == "row")


def _parsed(body: bytes) -> Any:
    try:
        # NaN and Infinity are taken here and refused with the row that has them, not with all rows
        return json.loads(body)
    except RecursionError:
        raise RefusedError(400, "The body is nested too deeply to be read.") from None
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"The body is neither a picture, nor .npy, nor text: {error.reason}.") from None
    except ValueError as error:
        raise RefusedError(400, f'The body is no JSON: {error}. Wanted {{"rows": [...]}}.') from None


def _form(value: Any) -> tuple[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(422, f'The body is a JSON {_kind(value)}, wanted {{"rows": [...]}}.')
    if len(value) != 1 or next(iter(value)) not in FORMS:
        raise RefusedError(422, f"The body has {sorted(value)}, wanted one of {list(FORMS)}.")
    return next(iter(value.items()))


def _listed(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise RefusedError(422, f"`{name}` is a JSON {_kind(value)}, wanted a list of rows.")
    return value


def _of_inputs(value: Any, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Rows of lists by the name of each input."""
    if not isinstance(value, dict) or set(value) != set(names):
        found = sorted(value) if isinstance(value, dict) else f"a JSON {_kind(value)}"
        raise RefusedError(422, f"`inputs` has {found}, wanted {list(names)}.")
    columns = {name: _listed(value[name], f"inputs.{name}") for name in names}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise RefusedError(422, f"`inputs` have different numbers of rows: {lengths}.")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _count(rows: int, most: int) -> None:
    if rows == 0:
        raise RefusedError(422, "There is no row, wanted at least one.")
    if rows > most:
        raise RefusedError(413, f"There are {rows} rows, wanted at most {most}. Send them in several requests.")


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
