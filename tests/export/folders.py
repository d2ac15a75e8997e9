"""Exported folders made by hand, with models of a few nodes and no torch."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.writing import write_folder
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.signature import Signature, TensorSpec

CREATED = "2026-01-02T03:04:05+00:00"
WEIGHTS = np.array([[2.0, -1.0, 0.5], [-1.0, 1.5, 0.25]], dtype=np.float32)
NAMES = ("cat", "dog", "cow")


def softmax(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def decisions(probabilities, decision):
    """What the rule of ``Decision`` says, slow and obvious."""
    if decision.task == "multilabel":
        thresholds = decision.thresholds or (0.5,) * len(decision.class_names)
        shape = (1, -1) + (1,) * (probabilities.ndim - 2)
        return (probabilities >= np.reshape(np.array(thresholds, np.float32), shape)).astype(np.int64)
    if decision.task == "binary":
        found = (probabilities[:, 1] >= np.float32(decision.thresholds[0] if decision.thresholds else 0.5)).astype(
            np.int64
        )
    else:
        found = probabilities.argmax(1)
    if decision.confidence is not None:
        found = np.where(probabilities.max(1) >= np.float32(decision.confidence), found, -1)
    return found


def constant(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def deciding(decision, positions=()):
    """Nodes from ``probabilities`` to ``decision``, with their constants."""
    if decision.task == "multilabel":
        thresholds = np.array(decision.thresholds or (0.5,) * len(decision.class_names), np.float32)
        thresholds = thresholds.reshape(-1, *(1 for _ in positions))
        nodes = [("GreaterOrEqual", ["probabilities", "limits"], "over"), ("Cast", ["over"], "decision")]
        return nodes, [constant("limits", thresholds)]
    if decision.task == "binary":
        limit = np.float32(decision.thresholds[0] if decision.thresholds else 0.5)
        nodes = [
            ("Gather", ["probabilities", "one"], "positive"),
            ("GreaterOrEqual", ["positive", "limit"], "over"),
            ("Cast", ["over"], "found"),
        ]
        constants = [constant("one", np.int64(1)), constant("limit", limit)]
    else:
        nodes, constants = [("ArgMax", ["probabilities"], "found")], []
    if decision.confidence is None:
        return [*nodes[:-1], (*nodes[-1][:2], "decision")], constants
    nodes += [
        ("ReduceMax", ["probabilities", "axis"], "top"),
        ("GreaterOrEqual", ["top", "least"], "sure"),
        ("Where", ["sure", "found", "none"], "decision"),
    ]
    more = [
        constant("axis", np.array([1])),
        constant("least", np.float32(decision.confidence)),
        constant("none", np.int64(-1)),
    ]
    return nodes, [*constants, *more]


OPTIONS = {
    "ArgMax": {"axis": 1, "keepdims": 0},
    "ReduceMax": {"keepdims": 0},
    "Gather": {"axis": 1},
    "Cast": {"to": TensorProto.INT64},
    "Softmax": {"axis": 1},
}


def model(decision, inputs=("x",), shape=(2,), weights=WEIGHTS):
    """``probabilities`` of the sum of the inputs times weights, by softmax or by label a sigmoid, and ``decision``."""
    total = "total" if len(inputs) > 1 else inputs[0]
    nodes = [("Sum", list(inputs), total)] if len(inputs) > 1 else []
    if len(shape) == 1:
        nodes.append(("MatMul", [total, "weights"], "logits"))
        constants = [constant("weights", weights[:, : len(decision.class_names)])]
    else:
        kernel = weights[:, : len(decision.class_names)].T.reshape(-1, 2, 1, 1)
        nodes.append(("Conv", [total, "weights"], "logits"))
        constants = [constant("weights", np.ascontiguousarray(kernel))]
    nodes.append(("Sigmoid" if decision.task == "multilabel" else "Softmax", ["logits"], "probabilities"))
    decided, more = deciding(decision, shape[1:])
    made = [helper.make_node(kind, given, [out], **OPTIONS.get(kind, {})) for kind, given, out in nodes + decided]
    positions = list(shape[1:])
    classes = len(decision.class_names)
    answer = ["N", classes, *positions] if decision.task == "multilabel" else ["N", *positions]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name in inputs],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes, *positions]),
            helper.make_tensor_value_info("decision", TensorProto.INT64, answer),
        ],
        constants + more,
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(whole)
    return whole.SerializeToString()


def expected(rows, decision, weights=WEIGHTS):
    """Probabilities and decisions of ``model`` in NumPy."""
    logits = np.moveaxis(np.moveaxis(rows, 1, -1) @ weights[:, : len(decision.class_names)], -1, 1)
    probabilities = 1 / (1 + np.exp(-logits)) if decision.task == "multilabel" else softmax(logits)
    return probabilities, decisions(probabilities, decision)


def signature(decision, inputs=("x",), shape=(2,)):
    classes, positions = len(decision.class_names), shape[1:]
    answer = (None, classes, *positions) if decision.task == "multilabel" else (None, *positions)
    return Signature(
        tuple(TensorSpec(name, "float32", (None, *shape)) for name in inputs),
        (
            TensorSpec("probabilities", "float32", (None, classes, *positions)),
            TensorSpec("decision", "int64", answer),
        ),
    )


def manifest(decision=None, inputs=("x",), shape=(2,), **parts):
    decision = decision or Decision("multiclass", NAMES)
    versions = {"lightning_posttrain": "0.1", "python": "3.11.7", "onnx": "1.23.2"}
    return Manifest("Net", CREATED, versions, signature(decision, inputs, shape), decision, **parts)


def exported(path, decision=None, inputs=("x",), shape=(2,), files=(), onnx=True, **parts):
    """A folder with ``model.onnx`` and other files."""
    said = manifest(decision, inputs, shape, **parts)

    def write(work):
        if onnx:
            (work / "model.onnx").write_bytes(model(said.decision, inputs, shape))
        for name, content in dict(files).items():
            (work / name).write_bytes(content)

    write_folder(path, said, write)
    return path
