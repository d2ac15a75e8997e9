"""An OpenAPI 3.1 document of a server, made of what the model says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_posttrain import __version__
from lightning_posttrain.export import Decision, Manifest, TensorSpec
from lightning_posttrain.serving.image import pictures
from lightning_posttrain.serving.limits import Limits

Plain = dict[str, Any]
ERRORS = {
    "400": "The body is no JSON, no .npy file and no picture.",
    "401": "The key is missing or another.",
    "408": "The body came too slowly.",
    "413": "The body or the picture is too large, or there are too many rows.",
    "422": "No row can be answered: each says why.",
    "500": "The model failed on each row that was right.",
    "503": "Too many rows wait; Retry-After says when to send it again.",
    "504": "There was no answer in time.",
}


def document(manifest: Manifest, limits: Limits, *, with_key: bool) -> Plain:
    """The document, as plain values.

    Args:
        manifest: of the model.
        limits: of the server.
        with_key: whether clients need a key.
    """
    security: Plain = {"security": [{"key": []}]} if with_key else {}
    schemes: Plain = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}} if with_key else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": manifest.name or "model", "version": manifest.created or __version__},
        "paths": {"/predict": {"post": {**_predict(manifest, limits), **security}}, **_reading_paths(security)},
        "components": {
            "schemas": {"Row": _row(manifest), "Answer": _answer(manifest.decision), "Error": _error()},
            "securitySchemes": schemes,
        },
    }


def _predict(manifest: Manifest, limits: Limits) -> Plain:
    answer, error = _reference("Answer"), _reference("Error")
    rows = {"type": "array", "items": {"oneOf": [answer, error]}}
    answers: Plain = {"oneOf": [answer, _object({"answers": rows})]}
    refusals = {**ERRORS, "413": f"{ERRORS['413']} At most {limits.body_bytes} bytes and {limits.rows} rows."}
    return {
        "summary": "Answers of the model for rows",
        "operationId": "predict",
        "requestBody": {"required": True, "content": _bodies(manifest, limits)},
        "responses": {
            "200": _response("At least one row is answered.", answers),
            **{status: _response(words, _refused(rows)) for status, words in refusals.items()},
        },
    }


def _refused(rows: Plain) -> Plain:
    return {"oneOf": [_reference("Error"), _object({"answers": rows})]}


def _bodies(manifest: Manifest, limits: Limits) -> Plain:
    """By content type, which bodies are taken; the server looks at their first bytes, not at the type."""
    row = _reference("Row")
    many = {"type": "array", "items": row, "minItems": 1, "maxItems": limits.rows}
    inputs = {
        s.name: {"type": "array", "items": _tensor(s), "maxItems": limits.rows} for s in manifest.signature.inputs
    }
    forms = [_object({"rows": many}), _object({"row": row}), _object({"inputs": _object(inputs)})]
    bodies: Plain = {"application/json": {"schema": {"oneOf": forms}}}
    if len(inputs) == 1:
        bodies["application/x-npy"] = {"schema": {"description": manifest.signature.inputs[0].words}}
    taken = pictures(manifest)
    if not isinstance(taken, str):
        bodies |= {kind: {"schema": {"description": taken.words}} for kind in ("image/png", "image/jpeg")}
    return bodies


def _reading_paths(security: Plain) -> Plain:
    says = {
        "/health": "Whether the process is alive",
        "/ready": "Whether requests should be sent: 503 before the model is warm, and when the server is to end",
        "/info": "What is served: the manifest, limits, drift",
        "/metrics": "Figures for Prometheus",
    }
    paths: Plain = {}
    for path, words in says.items():
        answered = {"200": {"description": words}, **({"503": {"description": "Not."}} if path == "/ready" else {})}
        needed = {} if path in ("/health", "/ready") else security
        paths[path] = {"get": {"summary": words, "operationId": path[1:], "responses": answered, **needed}}
    return paths


def _row(manifest: Manifest) -> Plain:
    inputs = manifest.signature.inputs
    if len(inputs) == 1:
        return _tensor(inputs[0])
    return _object({spec.name: _tensor(spec) for spec in inputs})


def _tensor(spec: TensorSpec) -> Plain:
    """Lists in lists of one row of a tensor."""
    kind = np.dtype(spec.dtype).kind
    schema: Plain = {"type": "number" if kind == "f" else "boolean" if kind == "b" else "integer"}
    for size in reversed(spec.shape[1:]):
        lengths = {} if size is None else {"minItems": size, "maxItems": size}
        schema = {"type": "array", "items": schema, **lengths}
    return {**schema, "description": spec.words}


def _answer(decision: Decision) -> Plain:
    names = list(dict.fromkeys(decision.class_names))
    named: Plain
    if decision.task == "multilabel":
        named = {"labels": {"type": "array", "items": {"type": "string", "enum": names}}}
    else:
        named = {"label": {"type": ["string", "null"], "enum": [*names, None]}}
    values: Plain = {
        **named,
        "decision": {
            "description": "Index of the class, -1 for no answer; 0 or 1 of each label.",
            "type": ["integer", "array"],
        },
        "probabilities": {"type": "array", "items": {"type": "number"}},
    }
    return {"type": "object", "properties": values, "required": ["decision"]}


def _error() -> Plain:
    return _object({"error": {"type": "string", "description": "What came, what was wanted, what to do."}})


def _object(properties: Mapping[str, Any]) -> Plain:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _reference(name: str) -> Plain:
    return {"$ref": f"#/components/schemas/{name}"}


def _response(words: str, schema: Plain) -> Plain:
    return {"description": words, "content": {"application/json": {"schema": schema}}}
