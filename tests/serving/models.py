"""A small model in onnxruntime that has what a server needs, built without torch."""

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lightning_posttrain.export import Decision, Manifest, Signature, TensorSpec

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = (1, 8, 8)
PAIR = Decision("multiclass", ("low", "high"))


class Outputs(NamedTuple):
    probabilities: Any
    decision: Any


def outputs(classes):
    return TensorSpec("probabilities", "float32", (None, classes)), TensorSpec("decision", "int64", (None,))


def manifest_of(inputs, decision, **more):
    signature = Signature(inputs, outputs(len(decision.class_names)))
    return Manifest(
        "Digits", "2026-11-27T00:00:00Z", {"onnxruntime": onnxruntime.__version__}, signature, decision, **more
    )


def weights(shape=DIGITS, classes=10, seed=0):
    return np.random.default_rng(seed).normal(size=(int(np.prod(shape)), classes)).astype("float32")


def graph(shape, classes):
    """Flatten, multiply, softmax, argmax."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["decision"], axis=1, keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
    found = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes]),
        helper.make_tensor_value_info("decision", TensorProto.INT64, ["N"]),
    ]
    made = helper.make_graph(nodes, "digits", [x], found, [numpy_helper.from_array(weights(shape, classes), "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class Digits:
    """Answers pictures of digits by a matrix."""

    def __init__(self, shape=DIGITS, **more):
        self.manifest = manifest_of(
            (TensorSpec("x", "float32", (None, *shape)),), Decision("multiclass", CLASSES), **more
        )
        self.signature, self.decision = self.manifest.signature, self.manifest.decision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = graph(shape, len(CLASSES))
        onnx.checker.check_model(model)
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def run(self, inputs):
        return Outputs(*self._session.run(["probabilities", "decision"], dict(inputs)))


class Made:
    """Answers by a function of its arrays."""

    def __init__(self, function, inputs, decision=PAIR, **more):
        self.manifest = manifest_of(tuple(inputs), decision, **more)
        self.signature, self.decision = self.manifest.signature, decision
        self.run = function


def of_sums(inputs):
    """Class 1 where the sum of all numbers is above 0; both probabilities are 0 and 1."""
    rows = len(next(iter(inputs.values())))
    total = sum(array.reshape(rows, -1).astype("float64").sum(1) for array in inputs.values())
    high = (total > 0).astype("int64")
    return Outputs(np.stack([1 - high, high], 1).astype("float32"), high)


def rows(count, shape=DIGITS, seed=0):
    return np.random.default_rng(seed).random((count, *shape)).astype("float32")
