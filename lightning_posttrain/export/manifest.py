"""What an exported folder says of itself, in plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.signature import Signature

SCHEMA = 1
"""Number of the form of ``manifest.json``."""
MANIFEST = "manifest.json"

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
        weights: ``{"source", "epoch", "step", "monitor", "value", "file", "sha256"}``: which weights they are; the file
            is a name without folders.
        input_statistics: by input, ``{"low", "high", "mean", "std"}`` of the rows that parity was measured on, by
            channel where there are such: what the model was fed.
        metrics: by stage and figure, ``{"value", "low", "high"}`` with a 95 % interval, and ``"rows"`` by stage.
        parity: by format, what ``FormatParity.to_dict`` gave.
        cost: by format, ``{"bytes", "latency"}``, and ``"parameters"``.
        data: by stage ``{"rows", "class_counts", "fingerprint"}``; the fingerprint is a SHA-256 over positions and
            labels, in order.
        reference: of the drift watch, what ``DriftReference.to_dict`` gave, or None.
        files: by name, ``{"sha256", "bytes"}`` of every other file of the folder.
        schema: number of its form.
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

    def to_json(self) -> str:
        """The content of ``manifest.json``."""
        plain = {part.name: getattr(self, part.name) for part in fields(self)}
        plain.update(signature=self.signature.to_dict(), decision=self.decision.to_dict())
        return json.dumps(plain, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """What ``to_json`` gave.

        Raises:
            ValueError: it is something else, or of another schema.
        """
        try:
            saved = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{MANIFEST} is no JSON: {error}. Export the model again.") from None
        if not isinstance(saved, dict) or saved.get("schema") != SCHEMA:
            found = saved.get("schema") if isinstance(saved, dict) else saved
            raise ValueError(f"{MANIFEST} has schema {found!r}, wanted {SCHEMA}. Export the model again.")
        try:
            parts = {
                "signature": Signature.from_dict(saved["signature"]),
                "decision": Decision.from_dict(saved["decision"]),
            }
            return cls(**{**saved, **parts})
        except (KeyError, TypeError) as error:
            raise ValueError(f"{MANIFEST} is none of this package: {error}. Export the model again.") from None
