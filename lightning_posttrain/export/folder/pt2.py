"""Programs of torch.export in a file, read only where nothing in it can run code while it is loaded.

``torch.export.load`` runs code of the file in more than one place: pickles among the example inputs, weights and
constants; expressions of sizes, which SymPy evaluates as Python; operators named by a path of attributes from
``torch``. Here only the names, settings, expressions and operators are let through that a program of plain tensors
has, and what was checked, not the file, is what torch is given.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_posttrain.export.folder.graph_text import check_graph

if TYPE_CHECKING:
    from torch.export import ExportedProgram

CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
GRAPH = "models/model.json"
EXAMPLES = "data/sample_inputs/model.pt"
_KNOWN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|extra/[\w.-]+"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+|" + "|".join(map(re.escape, (*CONFIGS, GRAPH, EXAMPLES)))
)
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
MOST_ENTRIES = 200_000


def check_pt2(path: str | Path) -> None:
    """Check that nothing in a ``.pt2`` file would run code when it is loaded.

    Args:
        path: of a file that ``torch.export.save`` wrote, with torch 2.8 or later and without example inputs.

    Raises:
        ValueError: it is no such file, or holds a pickle, native code, or another thing that a program of plain tensors
            has not.
    """
    _checked(Path(path))


def load_program(path: str | Path) -> ExportedProgram:
    """Check a ``.pt2`` file as ``check_pt2`` does, and load it.

    Raises:
        ValueError: as ``check_pt2``; or torch cannot load it.
        ImportError: torch is not installed.
    """
    entries = _checked(Path(path))
    try:
        import torch
    except ImportError as error:
        raise ImportError("A '.pt2' needs torch: pip install torch. 'model.onnx' runs without.") from error
    try:
        return torch.export.load(_archive(entries))
    except Exception as error:
        raise ValueError(f"'{Path(path).name}' cannot be loaded by torch {torch.__version__}: {error}") from error


def _checked(path: Path) -> dict[str, bytes]:
    """The content of each entry of a file, by its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _names(archive.infolist(), path)
            entries = {name: archive.read(info) for name, info in names.items()}
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"'{path.name}' is no file of torch.export: {error}. Export again.") from None
    if entries.get(EXAMPLES) != b"":
        raise _refused(path, f"'{EXAMPLES}' is not empty: it is a pickle, which runs code")
    for name in CONFIGS:
        _check_payloads(path, _json(path, entries, name))
    try:
        check_graph(_json(path, entries, GRAPH))
    except ValueError as error:
        raise _refused(path, str(error)) from None
    return entries


def _names(infos: list[zipfile.ZipInfo], path: Path) -> dict[str, zipfile.ZipInfo]:
    """Entries without the folder that all are in; none is packed, so that they are no larger than the file."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos[:MOST_ENTRIES]:
        name = info.filename.partition("/")[2]
        if not _KNOWN.fullmatch(name) or name in found:
            raise _refused(path, f"it holds {info.filename!r}, which a program of plain tensors has not, or twice")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise _refused(path, f"'{info.filename}' is packed, which torch never does")
        found[name] = info
    size = path.stat().st_size
    if len(infos) > MOST_ENTRIES or sum(info.file_size for info in infos) > size:
        raise _refused(path, f"its entries are larger than its {size} bytes, or more than {MOST_ENTRIES}")
    return found


def _json(path: Path, entries: dict[str, bytes], name: str) -> Any:
    try:
        return json.loads(entries[name])
    except KeyError:
        raise _refused(path, f"'{name}' is missing") from None
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"'{name}' is no JSON: {error}") from None


def _check_payloads(path: Path, config: Any) -> None:
    """Weights or constants: each a record of plain numbers."""
    payloads = config.get("config") if isinstance(config, dict) else None
    if not isinstance(payloads, dict):
        raise _refused(path, "a table of its weights is none")
    for name, payload in payloads.items():
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise _refused(path, f"{name!r} is a pickle, which runs code")
        if not _PAYLOAD.fullmatch(str(payload.get("path_name"))):
            raise _refused(path, f"{name!r} is in {payload.get('path_name')!r}, wanted a plain tensor")


def _archive(entries: dict[str, bytes]) -> io.BytesIO:
    """A fresh archive: two readers of one zip file may see different entries, here there is one reading."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"model/{name}", content)
    written.seek(0)
    return written


def _refused(path: Path, why: str) -> ValueError:
    return ValueError(
        f"'{path.name}' is refused: {why}. Export again with torch 2.8 or later, or use 'model.onnx'; "
        "never load one from a stranger."
    )
