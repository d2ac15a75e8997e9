"""The task of a model in the words of Hugging Face's hub."""

from __future__ import annotations

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.signature import DECISION, Signature

_OF_FLOATS = {2: "tabular-classification", 4: "image-classification"}


def pipeline_tag(signature: Signature, decision: Decision) -> str | None:
    """Pipeline of a model, by what its first input can be; None where that may be several things.

    Example:
        >>> from lightning_posttrain.export.signature import TensorSpec
        >>> image, answer = TensorSpec("x", "float32", (None, 3, 32, 32)), TensorSpec("decision", "int64", (None,))
        >>> pipeline_tag(Signature((image,), (answer,)), Decision("multiclass", ("cat", "dog")))
        'image-classification'
    """
    first = signature.inputs[0]
    answers = [len(spec.shape) for spec in signature.outputs if spec.name == DECISION]
    positions = answers[0] - (2 if decision.task == "multilabel" else 1) if answers else 0
    if positions > 0:
        return "image-segmentation" if len(first.shape) == 4 and positions == 2 else None
    if len(first.shape) == 2 and first.dtype.startswith(("int", "uint")):
        return "text-classification" if "ids" in first.name or "token" in first.name else None
    if first.dtype.startswith("float") or first.dtype == "uint8":
        return _OF_FLOATS.get(len(first.shape)) if len(signature.inputs) == 1 else None
    return None
