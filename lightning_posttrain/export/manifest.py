"""What an exported folder says of itself, in plain values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.signature import DECISION, PROBABILITIES, Signature

SCHEMA = 1
"""Number of the form of ``manifest.json``."""
MANIFEST = "manifest.json"
OWN_HASH = "manifest_sha256"
"""In ``manifest.json``: of all that it says besides, so that one that was edited is told."""
PLAIN_PARTS = (
    "versions",
    "weights",
    "input_statistics",
    "metrics",
    "parity",
    "cost",
    "data",
    "reference",
    "files",
)

Plain = Mapping[str, Any]
"""Values that JSON takes, by name."""


@dataclass(frozen=True)
class Manifest:
    """What an exported folder says of itself.

    Args:
        name: of the model: its class.
        created: when, ISO 8601 in UTC.
        versions: of this package, Python, torch, onnx, the operator set, by name.
        signature: what the model takes and gives.
        decision: how probabilities become answers.
        weights: ``{"source", "epoch", "step", "monitor", "value", "file", "sha256", "tensors_sha256", "words",
            "uint8", "parameters"}``: which weights they are, and how many; the file is a name without folders.
        input_statistics: by input, ``{"low", "high", "mean", "std"}`` of the rows that parity was measured on, by
            channel where there are such: what the model was fed.
        metrics: by stage and figure, ``{"value", "low", "high"}`` with a 95 % interval, and ``"rows"`` by stage.
        parity: by format, what ``FormatParity.to_dict`` gave.
        cost: by format, ``{"bytes", "latency"}``.
        data: by stage ``{"rows", "class_counts", "fingerprint"}``; the fingerprint is a SHA-256 over positions and
            labels, in order.
        reference: of the drift watch, what ``DriftReference.to_dict`` gave, or None.
        files: by name, ``{"sha256", "bytes"}`` of every other file of the folder.
        schema: number of its form.

    Raises:
        ValueError: a part is of another kind, or a name in ``files`` is no plain one.
    """

    name: str
    created: str
    versions: Plain
    signature: Signature
    decision: Decision
    weights: Plain = field(default_factory=dict)
    input_statistics: Plain = field(default_factory=dict)
    metrics: Plain = field(default_factory=dict)
    parity: Plain = field(default_factory=dict)
    cost: Plain = field(default_factory=dict)
    data: Plain = field(default_factory=dict)
    reference: Plain | None = None
    files: Plain = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name in ("name", "created"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"`{name}` is {getattr(self, name)!r}, wanted a string.")
        for name in PLAIN_PARTS:
            value = getattr(self, name)
            if not isinstance(value, Mapping) and (name != "reference" or value is not None):
                raise ValueError(f"`{name}` is {value!r}, wanted values by name.")
        for name, about in self.files.items():
            _check_file(name, about)

    def figures(self) -> Iterator[tuple[str, str, Plain]]:
        """Stage, name and ``{"value", "low", "high"}`` of each figure that is defined."""
        for stage, measured in self.metrics.items():
            for name, figure in measured.items() if isinstance(measured, Mapping) else ():
                if isinstance(figure, Mapping) and figure.get("value") is not None:
                    yield stage, name, figure

    def to_json(self) -> str:
        """The content of ``manifest.json``: its parts, and a SHA-256 of them; a number that is not finite is null."""
        plain = {part.name: getattr(self, part.name) for part in fields(self)}
        plain.update(signature=self.signature.to_dict(), decision=self.decision.to_dict())
        plain = _for_json(plain)
        return json.dumps({**plain, OWN_HASH: _own_hash(plain)}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """What ``to_json`` gave.

        Raises:
            ValueError: it is something else, or of another schema.
        """
        saved = _read(text)
        own = saved.pop(OWN_HASH, None)
        if own != _own_hash(saved):
            raise ValueError(f"{MANIFEST} was changed since it was written. Export the model again.")
        try:
            parts = {
                "signature": Signature.from_dict(saved["signature"]),
                "decision": Decision.from_dict(saved["decision"]),
            }
            found = cls(**{**saved, **parts})
            _check_outputs(found.signature, found.decision)
            return found
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{MANIFEST} is none of this package: {error} Export the model again.") from None


def _check_outputs(signature: Signature, decision: Decision) -> None:
    """Whether a decision is one of what a model gives."""
    shapes = {spec.name: spec.shape for spec in signature.outputs}
    probabilities, chosen = shapes[PROBABILITIES], shapes[DECISION]
    columns = len(probabilities) > 1 and probabilities[1] in (None, len(decision.class_names))
    if not columns or len(chosen) != len(probabilities) - (decision.task != "multilabel"):
        raise ValueError(
            f"its outputs {shapes} do not go with {decision.task} of {len(decision.class_names)} classes or labels."
        )


def _read(text: str | bytes) -> dict[str, Any]:
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is no JSON: {error}. Export the model again.") from None
    if not isinstance(saved, dict) or saved.get("schema") != SCHEMA:
        found = saved.get("schema") if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"{MANIFEST} has schema {found!r}, wanted {SCHEMA}. Export the model again.")
    return saved


def _own_hash(plain: Plain) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _for_json(value: Any) -> Any:
    """Values that JSON has: numbers of NumPy become Python's, those that are not finite None."""
    if isinstance(value, Mapping):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _for_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_file(name: Any, about: Any) -> None:
    if not isinstance(name, str) or not name or set(name) & set("/\\\0:") or name in (".", "..", MANIFEST):
        raise ValueError(f"`files` has {name!r}, wanted plain names of files, without folders.")
    known = isinstance(about, Mapping) and isinstance(about.get("sha256"), str) and isinstance(about.get("bytes"), int)
    if not known:
        raise ValueError(f"`files` has {about!r} for '{name}', wanted 'sha256' and 'bytes'.")
