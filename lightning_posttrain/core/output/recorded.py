"""A result as the file that it is read back from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lightning_posttrain.core.output.artifacts import File, Tagged
from lightning_posttrain.core.output.result import Result


def with_record(tag: str, result: Result, moment: Mapping[str, int], shown: Iterable[Tagged]) -> Iterator[Tagged]:
    """A result as JSON, one line for each key, before what is shown of it.

    Easy on the eye, and no line for each number of a matrix.
    """
    record: dict[str, Any] = {**moment, **result.to_dict()}
    lines = (json.dumps({key: value}, ensure_ascii=False, allow_nan=False)[1:-1] for key, value in record.items())
    content = "{{\n  {}\n}}\n".format(",\n  ".join(lines)).encode(errors="backslashreplace")
    yield Tagged(tag, File(content, ".json"))
    yield from shown
